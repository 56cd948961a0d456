"""What `verify` finds in the rows of the index."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from augment.dataset.index import SCHEMA, read_index
from augment.dataset.publish import publish as publish_dataset
from augment.dataset.shards import ShardLimits
from augment.storage.tar import sha256_file
from tests.dataset.parts import finished_ledger
from tests.dataset.verified import TRAIN, index_at, judge, published, verify


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return published(tmp_path)


def change_index(out: Path, change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> None:
    """Change the rows of the index, and its hash in the manifest."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = index_at(out)
    pq.write_table(pa.Table.from_pylist(change(list(read_index(path))), SCHEMA), path)
    shutil.copy(path, out / "index.parquet")
    manifest = json.loads((out / "manifest.json").read_bytes())
    manifest["files"][str(path.relative_to(out))]["sha256"] = sha256_file(path)
    (out / "manifest.json").write_text(json.dumps(manifest))


def with_row(key: str, **values: Any) -> Callable[[list[dict[str, Any]]], list[dict[str, Any]]]:
    return lambda rows: [row | values if row["key"] == key else row for row in rows]


@pytest.mark.parametrize(
    ("change", "problems"),
    [
        (with_row("02_broken-v00", stage=""), ["index.parquet: 02_broken-v00 is failed without a stage"]),
        (with_row("02_broken-v00", reason=""), ["index.parquet: 02_broken-v00 is failed without a reason"]),
        (with_row("01_owl-v01", stage="score"), ["index.parquet: 01_owl-v01 is accepted in the stage 'score'"]),
        (
            with_row("02_broken-v00", shard="shards/another.tar"),
            ["index.parquet: 02_broken-v00 its shard is shards/another.tar, the shards say "],
        ),
        (
            with_row("01_owl-v01", status="failed", stage="edit", reason="NaN", shard=""),
            [
                "index.parquet: 01_owl-v01 is failed, the shards say accepted",
                "index.parquet: 01_owl-v01 its reason is NaN, the shards say ",
                f"index.parquet: 01_owl-v01 its shard is , the shards say {TRAIN}",
                "manifest.json says failed 2, found 3",
                "planned 10, but accepted 4 + rejected 4 + failed 3 = 11",
            ],
        ),
        (
            lambda rows: [row for row in rows if row["key"] != "01_owl-v01"],
            [
                "1 edits are in a shard, but not in index.parquet, the first is 01_owl-v01",
                "1 edits are planned, but not in index.parquet, the first is 01_owl-v01",
            ],
        ),
        (
            lambda rows: [*rows[:5], rows[4], *rows[5:]],
            [
                "index.parquet: 1 keys occur more than once",
                "manifest.json says failed 2, found 3",
                "planned 10, but accepted 4 + rejected 4 + failed 3 = 11",
            ],
        ),
        (
            lambda rows: [*rows, rows[4] | {"key": "another-v00"}],
            [
                "1 edits are in index.parquet, but not planned, the first is another-v00",
                "manifest.json says failed 2, found 3",
                "planned 10, but accepted 4 + rejected 4 + failed 3 = 11",
            ],
        ),
        (lambda rows: rows[::-1], []),  # the order is not promised
    ],
)
def test_rows_of_the_index(
    out: Path, change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]], problems: list[str]
) -> None:
    change_index(out, change)
    assert sorted(verify(out).problems) == problems


def test_an_edit_that_is_planned_twice(tmp_path: Path) -> None:
    """Nothing can be right then, but it is said where it began."""
    ledger = finished_ledger(tmp_path)
    units = list(ledger.units())
    (plan,) = (tmp_path / "plan").glob("units-*-000000.jsonl")
    publish_dataset(ledger, judge=judge, judge_settings={}, limits=ShardLimits())
    lines = plan.read_text().splitlines()
    plan.write_text("\n".join([lines[0], lines[0].replace("u000000", "u000001"), lines[2]]) + "\n")
    assert len(list(ledger.units())) == len(units)
    problems = verify(tmp_path).problems
    assert "plan/: the edit 00_fox-v00 is planned 2 times" in problems
    assert "4 edits are in index.parquet, but not planned, the first is 02_broken-v00" in problems
