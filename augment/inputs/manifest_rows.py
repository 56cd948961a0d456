"""The rows of .csv, .jsonl and .parquet files, one after the other, and what is wrong with some of them."""

from __future__ import annotations

import csv
import difflib
import io
import json
import os
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import pyarrow

from augment.errors import InputError
from augment.inputs.locate import open_file, reaching
from augment.storage.parquet import open_parquet, parquet_batches

COLUMNS = ("path", "label", "prompt", "split", "id", "size")
REQUIRED = ("path", "label")
EXTENSIONS = (".csv", ".jsonl", ".parquet")
_PROBLEMS_SHOWN = 10
_PARQUET_ROWS = 10_000  # decoded at once

Row = tuple[int, Sequence[Any]]  # line, and its values in the order of COLUMNS and `more`; None where there is none


class Problems:
    """What is wrong with a manifest: the first ten problems, and how many there are.

    Attributes:
        count: number of problems.
        first: text of the first one, without its place; "" if there is none.
    """

    def __init__(self) -> None:
        self.count = 0
        self.first = ""
        self._shown: list[str] = []

    def add(self, file: str, line: int, text: str) -> None:
        """Count a problem; the first ten are kept in words."""
        self.count += 1
        self.first = self.first or text
        if len(self._shown) < _PROBLEMS_SHOWN:
            self._shown.append(f"{file}:{line}: {text}")

    def raise_any(self) -> None:
        """Raise InputError if there are any."""
        if self.count:
            more = [f"... and {self.count - len(self._shown)} more"] if self.count > len(self._shown) else []
            count = "1 problem" if self.count == 1 else f"{self.count} problems"
            raise InputError("\n  ".join([f"{count} in the manifest:", *self._shown, *more]))


def read_manifest_rows(file: str, problems: Problems, more: Sequence[str] = ()) -> Iterator[Row]:
    """Yield the rows of a manifest, read piece by piece; rows that cannot be read are added to the problems.

    Lines count from 1; in a Parquet file, rows do.

    Args:
        more: further columns that are wanted.

    Raises:
        InputError: if the file cannot be opened, or is of none of these kinds.
    """
    ending = os.path.splitext(file)[1].lower()
    if ending == ".csv":
        yield from _csv_rows(file, problems, (*COLUMNS, *more))
    elif ending == ".jsonl":
        yield from _json_rows(file, problems, (*COLUMNS, *more))
    elif ending == ".parquet":
        yield from _parquet_rows(file, problems, (*COLUMNS, *more))
    else:
        raise InputError(f"{file}: a manifest is a file with the extension {', '.join(EXTENSIONS)}")


def _csv_rows(file: str, problems: Problems, all_columns: Sequence[str]) -> Iterator[Row]:
    with reaching(file), _open_text(file) as text:
        reader = csv.reader(text, strict=True, skipinitialspace=True)
        header: list[str] = []
        places: list[int] = []  # index of each of our columns in a row; -1 where it has none
        while True:
            line = reader.line_num + 1
            try:
                row = next(reader, None)
            except csv.Error as error:
                problems.add(file, line, f"not valid CSV: {error}")
                continue
            if row is None:
                break
            if not row:
                continue
            if not header:
                header = [name.strip() for name in row]
                if wrong := _wrong_columns(header):
                    problems.add(file, line, wrong)
                    return
                places = [header.index(name) if name in header else -1 for name in all_columns]
            elif len(row) != len(header):
                problems.add(file, line, f"{len(row)} values, but the header has {len(header)}")
            else:
                yield line, [row[place] if place >= 0 else None for place in places]
        if not header:
            problems.add(file, 1, f"no header; the first line must name the columns {', '.join(REQUIRED)}")


def _json_rows(file: str, problems: Problems, all_columns: Sequence[str]) -> Iterator[Row]:
    known = set(COLUMNS)
    with reaching(file), _open_text(file) as lines:
        for line, text in enumerate(lines, 1):
            if text.isspace():
                continue
            try:
                row = json.loads(text)
            except (ValueError, RecursionError) as error:
                problems.add(file, line, f"not valid JSON: {error}")
                continue
            if not isinstance(row, dict):
                problems.add(file, line, f"a JSON object is expected, not {text.strip()[:40]!r}")
            elif not row.keys() <= known and (wrong := _misspelt(row)):
                problems.add(file, line, wrong)
            else:
                yield line, [row.get(name) for name in all_columns]


def _parquet_rows(file: str, problems: Problems, all_columns: Sequence[str]) -> Iterator[Row]:
    with reaching(file), open_file(file) as opened:
        try:
            table = open_parquet(opened)
            if wrong := _wrong_columns(table.schema_arrow.names):
                problems.add(file, 1, wrong)
                return
            wanted = [name for name in dict.fromkeys(all_columns) if name in table.schema_arrow.names]
            row = 0
            for batch in parquet_batches(table, wanted, _PARQUET_ROWS):
                columns = _columns(batch, file, row)
                absent = [None] * batch.num_rows
                for values in zip(*(columns.get(name, absent) for name in all_columns), strict=True):
                    row += 1
                    yield row, values
        except pyarrow.ArrowException as error:
            raise InputError(f"{file}: not a readable Parquet file: {' '.join(str(error).split())}") from error


def _columns(batch: pyarrow.RecordBatch, file: str, first: int) -> dict[str, list[Any]]:
    """Return the values of a batch by column. Raises InputError for what Python cannot hold, say text not in UTF-8."""
    try:
        return dict(batch.to_pydict())
    except (ValueError, OverflowError) as error:
        rows = f"one of the rows {first + 1} to {first + batch.num_rows}"
        raise InputError(f"{file}: a value in {rows} cannot be read: {' '.join(str(error).split())}") from error


def _open_text(file: str) -> io.TextIOWrapper:
    # File names are bytes and need not be UTF-8; what must be, is checked where it is used.
    return io.TextIOWrapper(open_file(file), encoding="utf-8-sig", errors="surrogateescape", newline="")


def _wrong_columns(names: Sequence[str]) -> str:
    """Return what is wrong with the columns of a file, or ""."""
    if any("\0" in name for name in names):
        return "the header is no text in UTF-8, rather in UTF-16; save the file as UTF-8"
    if wrong := _misspelt(names):
        return wrong
    if absent := [name for name in REQUIRED if name not in names]:
        return (
            f"no column {' and no column '.join(map(repr, absent))}; it has {', '.join(map(repr, names))}{_hint(names)}"
        )
    if twice := [name for name in COLUMNS if names.count(name) > 1]:
        return f"two columns are called {twice[0]!r}"
    return ""


def _hint(names: Sequence[str]) -> str:
    """Return what a header of one column that may be several lacks; "" for any other header."""
    separator = next((char for char in ";\t|" if len(names) == 1 and char in names[0]), "")
    return f". Columns are separated by commas, not by {separator!r}" if separator else ""


def _misspelt(names: Collection[str]) -> str:
    """Return a message if one of the names is nearly a known one that is not there, or ""."""
    for name in names:
        absent = {known for known in COLUMNS if known not in names}
        # Two letters are too few to tell a misspelling: `idx` is a column of its own.
        near = difflib.get_close_matches(name.strip().lower(), absent - {"id"}, 1, cutoff=0.8)
        if name.strip().lower() in absent:
            near = [name.strip().lower()]
        if name not in COLUMNS and near:
            return f"unknown column {name!r}; did you mean {near[0]!r}?"
    return ""
