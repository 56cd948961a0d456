"""`index.parquet`: one row for every planned edit, whatever became of it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from augment.dataset.record import SCORE_FIELDS, EditRecord
from augment.storage.parquet import open_parquet, parquet_batches, read_parquet
from augment.storage.tar import naming
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
        self._path = path
        with naming(path):
            self._writer = pq.ParquetWriter(path, SCHEMA, compression="zstd")
        self._batches: list[pa.RecordBatch] = []
        self._rows = 0  # in these

    def add(self, columns: Mapping[str, list[Any]]) -> None:
        """Add rows.

        Args:
            columns: the fields of some records, by name, as they are published, and `shard`, the file that each sample
                is in.
        """
        failed = [status == EditStatus.FAILED for status in columns["status"]]
        known = dict(columns)
        if any(failed):
            for name in _MEASURED:
                known[name] = [None if lost else value for value, lost in zip(known[name], failed, strict=True)]
        with naming(self._path):
            self._batches.append(pa.RecordBatch.from_pydict(known, schema=SCHEMA))
        self._rows += len(failed)
        while self._rows >= _ROWS_PER_GROUP:
            self._write(_ROWS_PER_GROUP)

    def _write(self, count: int) -> None:
        table = pa.Table.from_batches(self._batches, SCHEMA)
        with naming(self._path):
            self._writer.write_table(table.slice(0, count).combine_chunks())
        self._batches = table.slice(count).to_batches()
        self._rows -= count

    def close(self) -> None:
        """Write the rows that are left and complete the file."""
        if self._rows:
            self._write(self._rows)
        with naming(self._path):
            self._writer.close()


def read_index(source: Path | BinaryIO, columns: list[str] | None = None) -> Iterator[dict[str, Any]]:
    """Yield the rows of an index, in plan order. Raises OSError or ValueError if it is damaged or lacks a column."""
    file = open_parquet(source)
    if lacking := set(columns or ()) - set(file.schema_arrow.names):
        raise ValueError(f"it has no column {', '.join(sorted(lacking))}")
    for batch in parquet_batches(file, columns):
        yield from batch.to_pylist()


def read_columns(source: Path | BinaryIO, columns: list[str]) -> pa.Table:
    """Return whole columns of an index, in plan order, for arithmetic."""
    return read_parquet(source, columns)


def read_rows(source: Path | BinaryIO, keys: Collection[str]) -> dict[str, dict[str, Any]]:
    """Return the rows of some edits, by key."""
    if not keys:  # pyarrow has no type for the values of an empty set
        return {}
    rows: list[dict[str, Any]] = read_parquet(source, filters=[("key", "in", list(keys))]).to_pylist()
    return {row["key"]: row for row in rows}
