"""What a run that has ended must not be called a success for."""

from __future__ import annotations

from typing import Any

import pytest

from augment.report.outcome import problems


def test_nothing_planned_is_no_failure_of_all() -> None:
    (line,) = problems({"planned": 0, "accepted": 0, "failed": 0, "reasons": {}}, "out")
    assert line.startswith("no edit was accepted")


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        ({"accepted": 4, "failed": 0, "reasons": {"label_probability": 5}}, []),
        ({"accepted": 6, "failed": 3, "reasons": {"failed: decode": 3}}, []),
        ({"accepted": 0, "failed": 9, "reasons": {"failed: decode": 9}}, ["every edit failed"]),
        ({"accepted": 5, "failed": 4, "reasons": {"failed: worker": 4}}, ["4 edits were given up"]),
        ({"accepted": 0, "failed": 0, "reasons": {"label_probability": 9}}, ["no edit was accepted"]),
        (
            {"accepted": 0, "failed": 4, "reasons": {"failed: worker": 4, "label_probability": 5}},
            ["no edit was accepted", "4 edits were given up"],
        ),
        (
            {"accepted": 3, "failed": 6, "reasons": {"failed: worker": 4, "failed: quarantine": 2}},
            ["4 edits were given up", "2 edits of inputs that kill workers"],
        ),
    ],
)
def test_problems(counts: dict[str, Any], words: list[str]) -> None:
    found = problems({"planned": 9, **counts}, "out")
    assert len(found) == len(words)
    for line, start in zip(found, words, strict=True):
        assert line.startswith(start)
        assert "out/index.parquet" in line


def test_why_nothing_was_accepted_and_what_to_do() -> None:
    reasons = {"failed: decode": 2, "label_probability": 7}
    (line,) = problems({"planned": 9, "accepted": 0, "failed": 2, "reasons": reasons}, "out")
    assert "(2 by failed: decode, 7 by label_probability)" in line
    assert "`augment finalize out -o filters.NAME=VALUE`" in line
