"""Rows of several splits in one manifest, and rows that name one file in two ways."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from augment.errors import InputError
from augment.inputs.readers import list_sources
from tests.inputs.test_manifest import write


def test_that_no_split_is_chosen_is_pointed_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    table = tmp_path / "m.csv"
    table.write_text("path,label,split\na.png,fox,train\nb.png,owl,Test\n")
    assert len(list_sources(table, "manifest").sources) == 2
    assert "rows of 'Test' are used like all others, because no split is chosen" in caplog.text
    assert "there is also 'train'" in caplog.text
    caplog.clear()
    list_sources(table, "manifest", split="train")
    for splits in (("train", "extra"), ("val", "test"), ("", "")):
        table.write_text("path,label,split\na.png,fox,{}\nb.png,owl,{}\n".format(*splits))
        list_sources(table, "manifest")
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("label", [None, "", " ", "-1", "NaN", -1, float("nan")])
def test_rows_of_another_split_need_no_label(tmp_path: Path, kind: str, label: object) -> None:
    number = isinstance(label, int | float)
    rows = [
        {"path": "a.png", "label": 0 if number else "fox", "split": "train"},
        {"path": "b.png", "label": label, "split": "test"},
        {"path": "c.png", "label": 1 if number else "ant", "split": "test"},
    ]
    file = write(tmp_path / f"m.{kind}", rows)
    listing = list_sources(file, "manifest", {"0": "fox"} if number else {}, "train")
    (source,) = listing.sources
    assert (source.label, listing.left_out) == (0 if number else 1, {"row of another split": 2})
    with pytest.raises(InputError, match="label"):
        list_sources(file, "manifest")


def test_other_labels_of_another_split_are_still_checked(tmp_path: Path) -> None:
    table = tmp_path / "m.csv"
    table.write_text("path,label,split\na.png,0,train\nb.png,0.5,test\n")
    with pytest.raises(InputError, match=r"m\.csv:3: label is '0\.5'"):
        list_sources(table, "manifest", {"0": "fox"}, "train")


def test_one_file_in_two_ways(tmp_path: Path) -> None:
    folder = tmp_path / "x"
    folder.mkdir()
    for name in ("a", "b"):
        (folder / f"{name}.png").write_bytes(b"")
    table = folder / "m.csv"
    table.write_text(f"path,label\na.png,fox\nb.png,owl\n{folder}/a.png,fox\n")
    with pytest.raises(InputError, match=r"m\.csv:2 and \S+m\.csv:4 name one image, \S+/x/a\.png; remove one of"):
        list_sources(table, "manifest")
    table.write_text("path,label\na.png,fox\n../x/a.png,fox\n")
    with pytest.raises(InputError, match="name one image"):
        list_sources(table, "manifest")
    table.write_text(f"path,label,id\na.png,fox,one\n{folder}/a.png,fox,two\n{folder}/b.png,fox,\n../c.png,fox,\n")
    assert {"one", "two"} < {s.key for s in list_sources(table, "manifest").sources}
