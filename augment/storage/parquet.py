"""Parquet files read in one thread and, where that is possible, without Python objects.

Arrow's threads outlive a read for a moment. If one of them holds a Python object, such as a `BytesIO`, while the
interpreter ends, the process aborts (exit status 134) after all of its work is done.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

Filters = Sequence[tuple[str, str, Any]]
_COPIED_BYTES = 64 * 2**20  # a remote file of at most so many is read whole; of a larger one, the ranges wanted
_BATCH_ROWS = 65_536


def read_parquet(
    source: Path | BinaryIO | bytes, columns: Sequence[str] | None = None, filters: Filters | None = None
) -> pa.Table:
    """Return a table, or some of its columns and rows.

    Args:
        source: path, open file, or content of a file.
        columns: all, if not given.
        filters: (column, operator, value), all of which the rows have to fulfil.
    """
    wanted = None if columns is None else list(columns)
    rows = None if filters is None else list(filters)
    return pq.read_table(_for_arrow(source), columns=wanted, filters=rows, use_threads=False, pre_buffer=False)


def open_parquet(source: Path | BinaryIO) -> pq.ParquetFile:
    """Open a file whose rows `parquet_batches` gives."""
    return pq.ParquetFile(_for_arrow(source), pre_buffer=False)


def parquet_batches(
    file: pq.ParquetFile, columns: Sequence[str] | None = None, rows: int = _BATCH_ROWS
) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a file, or some of its columns, so many at a time."""
    wanted = None if columns is None else list(columns)
    yield from file.iter_batches(rows, columns=wanted, use_threads=False)


def _for_arrow(source: Path | BinaryIO | bytes) -> pa.NativeFile | BinaryIO:
    """Return what Arrow reads by itself; of a large remote file only the file, which Arrow asks for ranges."""
    if isinstance(source, bytes):
        return _copied(source)
    if isinstance(source, Path):
        return pa.OSFile(os.fsencode(source))
    name = getattr(source, "name", None)
    if isinstance(source, io.BufferedReader) and isinstance(name, str):
        return pa.OSFile(os.fsencode(name))
    size = source.seek(0, io.SEEK_END)
    source.seek(0)
    return _copied(source.read()) if size <= _COPIED_BYTES else source


def _copied(data: bytes) -> pa.NativeFile:
    stream = pa.BufferOutputStream()
    stream.write(data)
    return pa.BufferReader(stream.getvalue())
