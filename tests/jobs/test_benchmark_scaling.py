"""The benchmark of scaling runs the real pool, and counts what it says it counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from augment.distribute.wait_cost import wait_cost
from jobs.benchmark_scaling import (
    BATCH,
    BATCHES_PER_UNIT,
    VARIANTS,
    lines,
    measure,
    publish_and_verify,
)


@pytest.mark.ray
@pytest.mark.timeout(90)
@pytest.mark.slow
def test_a_row_of_the_table(ray_session: Any, tmp_path: Path) -> None:
    row = measure(1, 2, (0.05,), tmp_path / "run")
    assert row["units"] == 2
    assert row["seconds_by_stage_per_unit"]["model"] >= BATCHES_PER_UNIT * 0.05
    assert 0 < row["busy_share"] < 1
    assert lines([row | {"name": "1"}])[-1].startswith("| 1 | 2 | ")
    published = publish_and_verify(tmp_path / "run")
    assert (published["units"], published["edits"]) == (2, 2 * BATCH * BATCHES_PER_UNIT * VARIANTS)
    assert published["shard_bytes"] > published["edits"] * 1000


@pytest.mark.ray
@pytest.mark.timeout(90)
def test_the_cost_of_a_wait(ray_session: Any) -> None:
    assert 0 < wait_cost(in_flight=4, repeats=3) < 1
