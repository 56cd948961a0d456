"""The measurement of the order: the three ways read the same samples, and differ as they should."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from jobs.measure_order import NAMES, SIZE, Sizes, measure


def noise(label: int, index: int) -> np.ndarray:
    return np.random.default_rng([label, index]).integers(0, 255, (SIZE, SIZE, 3), np.uint8)


@pytest.mark.filterwarnings("ignore:batches of 64 have")
def test_the_ways_differ_in_the_classes_of_their_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = Sizes(sources=20, copies=2, tests=1, steps=12)
    monkeypatch.setattr("augment.training.shards.SHUFFLE_BUFFER", sizes.sources * sizes.copies)
    one_by_one, together, in_plan_order = measure(tmp_path, noise, sizes)
    assert len(list((tmp_path / "sorted").iterdir())) == len(list((tmp_path / "mixed").iterdir())) == len(NAMES) == 20
    assert one_by_one.classes_per_batch < 8
    # Drawn at random it would be 19.2.
    assert min(together.classes_per_batch, in_plan_order.classes_per_batch) > 18
    assert all(0 <= result.accuracy <= 1 for result in (one_by_one, together, in_plan_order))
