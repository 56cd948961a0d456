"""The benchmark of many classes goes from the command to the first edit, and no further."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.benchmark_classes import class_word, measure, write_pictures


@pytest.mark.slow
def test_a_run_as_far_as_the_first_batch(tmp_path: Path) -> None:
    figures = measure(write_pictures(tmp_path, 5))
    assert figures.classes == 5
    seconds = (figures.validate_seconds, figures.plan_seconds, figures.load_seconds, figures.batch_seconds)
    assert all(value > 0 for value in seconds)


def test_every_class_has_a_word_of_its_own() -> None:
    assert len({class_word(number) for number in range(10_000)}) == 10_000
