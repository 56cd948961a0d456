"""What a run that has ended must not be called a success for."""

from __future__ import annotations

from typing import Any

import pytest

from augment.report.outcome import problems


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        ({"failed": 0, "reasons": {"label_probability": 5}}, []),
        ({"failed": 3, "reasons": {"failed: decode": 3}}, []),
        ({"failed": 9, "reasons": {"failed: decode": 9}}, ["every edit failed"]),
        ({"failed": 4, "reasons": {"failed: worker": 4}}, ["4 edits were given up"]),
        (
            {"failed": 6, "reasons": {"failed: worker": 4, "failed: quarantine": 2}},
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
