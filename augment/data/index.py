"""`index.parquet`: one row for every planned edit, whatever became of it."""

from __future__ import annotations

from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from augment.data.shards import SCORE_FIELDS, EditRecord
from augment.types import EditStatus

_ROWS_PER_GROUP = 50_000
_ARROW = {"str": pa.string(), "int": pa.int64(), "float": pa.float64()}
SCHEMA = pa.schema(
    [*(pa.field(f.name, _ARROW[str(f.type)]) for f in fields(EditRecord)), pa.field("shard", pa.string())]
)
_MEASURED = (*SCORE_FIELDS, "inversion_iterations", "inversion_evaluations", "inversion_residual")


class IndexWriter:
    """Collects rows and writes them in large groups; the file is complete after `close`.

    A row is an `EditRecord` and the `shard` it is in ("" for a failed edit). The scores of a failed edit are null here,
    where nulls are safe, so that means over a column are means over measurements; settings never are.
    """

    def __init__(self, path: Path) -> None:
        self._writer = pq.ParquetWriter(path, SCHEMA, compression="zstd")
        self._rows: list[dict[str, Any]] = []

    def add(self, record: EditRecord, shard: str) -> None:
        row: dict[str, Any] = asdict(record) | {"shard": shard}
        if record.status == EditStatus.FAILED:
            row |= dict.fromkeys(_MEASURED)
        self._rows.append(row)
        if len(self._rows) == _ROWS_PER_GROUP:
            self._flush()

    def _flush(self) -> None:
        if self._rows:
            self._writer.write_table(pa.Table.from_pylist(self._rows, schema=SCHEMA))
            self._rows = []

    def close(self) -> None:
        self._flush()
        self._writer.close()


def read_index(path: Path, columns: list[str] | None = None) -> list[dict[str, Any]]:
    """The rows of an index, in plan order. Raises OSError or ValueError if it is damaged or lacks a column."""
    rows: list[dict[str, Any]] = pq.read_table(path, columns=columns).to_pylist()
    return rows


def read_rows(path: Path, keys: list[str]) -> dict[str, dict[str, Any]]:
    """The rows of some edits, by key."""
    rows: list[dict[str, Any]] = pq.read_table(path, filters=[("key", "in", keys)]).to_pylist()
    return {row["key"]: row for row in rows}
