"""When a loop ends, and which of its rounds is the best: told by the rows of its rounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from augment.loop.config import LoopConfig

Row = Mapping[str, Any]


def best_round(rows: Sequence[Row], select_by: str) -> int:
    """Return the round with the best `select_by` on val; of equal ones the first, which has the fewest edits."""
    return max(range(len(rows)), key=lambda number: (rows[number][select_by], -number))


def edits_left(config: LoopConfig, rows: Sequence[Row]) -> int:
    """Return how many edits the next round may plan."""
    if config.budget.edits is None:
        return config.edits_per_round
    return max(0, min(config.edits_per_round, config.budget.edits - rows[-1]["edits"]))


def stop_reason(config: LoopConfig, rows: Sequence[Row], capacity: int) -> str:
    """Return why there is no further round; "" if there is one.

    Args:
        rows: of the rounds that are done, one or more.
        capacity: edits that there can be at most.
    """
    best = rows[best_round(rows, config.train.select_by)]
    if best[config.train.select_by] == 1:
        return f"val has no mistake left in round {best['round']}"
    since = len(rows) - 1 - best_round(rows, config.train.select_by)
    if since >= config.patience:
        return f"val was no better for {since} rounds"
    if edits_left(config, rows) == 0:
        return f"the budget of {config.budget.edits} edits is spent"
    hours = sum(row["worker_seconds"] for row in rows) / 3600
    if config.budget.gpu_hours is not None and hours >= config.budget.gpu_hours:
        return f"the budget of {config.budget.gpu_hours:g} GPU-hours is spent: {hours:.3f}"
    if rows[-1]["edits"] >= capacity or (len(rows) > 1 and rows[-1]["edits"] == rows[-2]["edits"]):
        return "every image has all the edits that it may have"
    return ""
