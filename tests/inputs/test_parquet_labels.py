"""Labels of every type that Parquet has: whole numbers are indices, texts are names, the rest is refused by row."""

from __future__ import annotations

import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest

from augment.errors import InputError
from augment.inputs.readers import list_sources

NAMES = {0: "fox", 1: "owl", 3: "eel"}
WHOLE = [
    *(pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()),
    *(pa.float16(), pa.float32(), pa.float64(), pa.decimal128(5, 2), pa.decimal256(40, 0)),
    pa.dictionary(pa.int8(), pa.int64()),
]
TEXT = [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())]


def table(path: Path, labels: list[Any], kind: pa.DataType) -> Path:
    column = pa.array(labels).dictionary_encode() if pa.types.is_dictionary(kind) else pa.array(labels, kind)
    paths = pa.array([f"{i}.png" for i in range(len(labels))])
    pyarrow.parquet.write_table(pa.table({"path": paths, "label": column}), path / "rows.parquet")
    return path / "rows.parquet"


def labels(path: Path) -> list[tuple[int, str]]:
    return [(s.label, s.class_name) for s in list_sources(path, "manifest", NAMES).sources]


@pytest.mark.parametrize("kind", WHOLE, ids=str)
def test_whole_numbers_of_any_type_are_indices(tmp_path: Path, kind: pa.DataType) -> None:
    values: list[Any] = [3, 0, 1]
    if pa.types.is_float16(kind) or pa.types.is_floating(kind):
        values = [3.0, 0.0, 1.0]
    if pa.types.is_decimal(kind):
        values = [Decimal(3), Decimal(0), Decimal(1)]
    assert labels(table(tmp_path, values, kind)) == [(3, "eel"), (0, "fox"), (1, "owl")]


@pytest.mark.parametrize("kind", TEXT, ids=str)
def test_texts_of_any_type_are_names(tmp_path: Path, kind: pa.DataType) -> None:
    assert labels(table(tmp_path, ["owl", "fox", "owl"], kind)) == [(1, "owl"), (0, "fox"), (1, "owl")]


def test_false_and_true_are_0_and_1(tmp_path: Path) -> None:
    assert labels(table(tmp_path, [True, False], pa.bool_())) == [(1, "owl"), (0, "fox")]


@pytest.mark.parametrize(
    ("bad", "kind", "problem"),
    [
        (1.5, pa.float64(), "label is 1.5, expected a class index such as 3, or a class name"),
        (float("nan"), pa.float64(), "label is nan, so there is no label"),
        (float("inf"), pa.float32(), "label is inf, expected a class index"),
        (None, pa.int64(), "no label"),
        (None, pa.string(), "no label"),
        (-1, pa.int8(), "label is -1, expected a class index"),
        (2**64 - 1, pa.uint64(), "label is 18446744073709551615, expected a class index"),
        (Decimal("1.50"), pa.decimal128(5, 2), "label is 1.50, expected a class index"),
        (datetime.date(2020, 1, 1), pa.date32(), "label is datetime.date(2020, 1, 1), expected text"),
        ([1], pa.list_(pa.int64()), "label is [1], expected text"),
        (b"fox", pa.binary(), "label is b'fox', expected text"),
    ],
)
def test_what_is_no_label_is_named_with_its_row(tmp_path: Path, bad: Any, kind: pa.DataType, problem: str) -> None:
    good: dict[type, Any] = {float: 1.0, int: 1, Decimal: Decimal(1), bytes: b"owl"}
    first = good.get(type(bad), "owl" if kind == pa.string() else 1)
    if isinstance(bad, datetime.date | list):
        first = bad
    with pytest.raises(InputError) as caught:
        labels(table(tmp_path, [first, bad], kind))
    assert f"{tmp_path}/rows.parquet:2: {problem}" in str(caught.value)
