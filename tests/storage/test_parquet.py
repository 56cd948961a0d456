"""Parquet files are read without leaving Python objects to Arrow's threads."""

from __future__ import annotations

import ast
import io
from pathlib import Path
from typing import BinaryIO, cast

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from augment.storage import parquet
from augment.storage.parquet import open_parquet, parquet_batches, read_parquet
from tests.test_house import modules

READERS = {"read_table", "read_pandas", "ParquetFile", "ParquetDataset", "iter_batches", "read_row_group"}


def written(path: Path) -> bytes:
    pq.write_table(pa.table({"key": ["a", "b", "c"], "size": [1, 2, 3]}), path, row_group_size=2)
    return path.read_bytes()


def test_nothing_else_in_the_package_reads_parquet() -> None:
    # `pq.read_table(io.BytesIO(...))` aborts every third process that ends right behind it.
    found = [
        f"{module.where}:{node.lineno}"
        for module in modules()
        if module.path != Path(parquet.__file__)
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Attribute | ast.Name)
        and (getattr(node, "attr", "") or getattr(node, "id", "")) in READERS
    ]
    assert not found


@pytest.mark.parametrize("kind", ["path", "bytes", "open file", "in memory"])
def test_a_table_and_some_of_its_columns_and_rows_are_read(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.parquet"
    data = written(path)
    with path.open("rb") as file:
        source = {"path": path, "bytes": data, "open file": file, "in memory": cast(BinaryIO, io.BytesIO(data))}[kind]
        assert read_parquet(source).to_pydict() == {"key": ["a", "b", "c"], "size": [1, 2, 3]}
        assert read_parquet(source, ["size"]).to_pydict() == {"size": [1, 2, 3]}
        assert read_parquet(source, ["key"], [("size", ">", 1)]).to_pydict() == {"key": ["b", "c"]}


@pytest.mark.parametrize("kind", ["path", "open file"])
def test_rows_come_in_batches(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.parquet"
    written(path)
    with path.open("rb") as file:
        opened = open_parquet(path if kind == "path" else file)
        assert [b.to_pydict() for b in parquet_batches(opened, ["key"], 2)] == [{"key": ["a", "b"]}, {"key": ["c"]}]


def test_a_file_whose_name_is_not_utf_8_is_read(tmp_path: Path) -> None:
    path = tmp_path / "\udcff.parquet"
    written(tmp_path / "a.parquet")
    (tmp_path / "a.parquet").rename(path)
    assert read_parquet(path).num_rows == 3


def test_of_a_large_remote_file_only_ranges_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = written(tmp_path / "a.parquet")
    monkeypatch.setattr(parquet, "_COPIED_BYTES", 0)
    read: list[int] = []

    class Remote(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            read.append(-1 if size is None else size)
            return super().read(size)

    assert read_parquet(Remote(data), ["size"])["size"].to_pylist() == [1, 2, 3]
    assert read and -1 not in read


def test_a_file_that_is_not_there_and_one_that_is_damaged_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_parquet(tmp_path / "a.parquet")
    with pytest.raises(pa.ArrowInvalid):
        read_parquet(b"PAR1")
