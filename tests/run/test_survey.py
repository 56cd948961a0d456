"""What `augment init` says of label tables that it cannot read, of splits, and of files that are left out."""

from __future__ import annotations

from pathlib import Path

import pytest

from augment.errors import InputError
from augment.run.init import config_without_files
from augment.run.survey import survey
from tests.run.shapes import flat, folders

TABLES = {
    "labels.csv": (b"id,breed\n0,pug\n", "no column 'path' and no column 'label'; it has 'id', 'breed'"),
    "metadata.csv": (b"file_name,label\n0.png,cat\n", "no column 'path'; it has 'file_name', 'label'"),
    "a.csv": (b"path;label\n0.png;cat\n", "it has 'path;label'. Columns are separated by commas, not by ';'"),
    "b.csv": (b"path\tlabel\n0.png\tcat\n", r"separated by commas, not by '\t'"),
    "c.csv": ("path,label\n0.png,cat\n".encode("utf-16"), "rather in UTF-16; save the file as UTF-8"),
    "d.csv": (b"Path,Label\n0.png,cat\n", "unknown column 'Path'; did you mean 'path'?"),
    "E.CSV": (b"name,class\n0.png,cat\n", "no column 'path' and no column 'label'; it has 'name', 'class'"),
    "f.csv": (b"path,label\n", "it has no row"),
    "labels.tsv": (b"path\tlabel\n0.png\tcat\n", "a manifest is a file with the extension .csv, .jsonl, .parquet"),
    "labels.json": (b"[]", "a manifest is a file with the extension"),
    "metadata.jsonl": (b'{"file_name": "0.png", "text": "cat"}\n', "its first row has no 'path' and no 'label'"),
    "train.parquet": (b"PAR1", "not a readable Parquet file"),
}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_that_may_say_the_classes_is_not_passed_over(tmp_path: Path, name: str) -> None:
    table, why = TABLES[name]
    root = flat(tmp_path / "x")
    (root / name).write_bytes(table)
    with pytest.raises(InputError) as caught:
        survey(str(root))
    (line,) = [
        line for line in str(caught.value).splitlines() if f"{root / name} lies there and was not read: " in line
    ]
    assert why in line
    assert "columns path (from its own folder to the image) and label" in str(caught.value)
    assert "by hand with input.format: flat and input.class_names: {0: WORD}" in str(caught.value)
    with pytest.raises(InputError, match="was not read"):
        config_without_files(str(root), "embedded")
    (root / name).unlink()
    assert survey(str(root)).detected.format == "flat"


def test_a_table_above_the_folder_for_training(tmp_path: Path) -> None:
    root = tmp_path / "dogs"
    flat_folder = flat(tmp_path / "y")
    root.mkdir()
    flat_folder.rename(root / "train")
    (root / "labels.csv").write_text("id,breed\n0,pug\n")
    for path in (root, root / "train"):
        with pytest.raises(InputError, match=r"labels\.csv lies there and was not read"):
            survey(str(path))
    (root / "labels.csv").write_text("path,label\ntrain/0.png,pug\n")
    with pytest.raises(InputError, match=r"labels\.csv lies there and was not read: it is a manifest: name it"):
        survey(str(root / "train"))


def test_a_table_beside_folders_of_classes_is_a_note(tmp_path: Path) -> None:
    root = folders("train/fox", "train/owl", "test/fox")(tmp_path / "x")
    (root / "labels.csv").write_text("id,breed\n0,pug\n")
    seen = survey(str(root))
    assert seen.images == 4
    assert f"not read: {root}/labels.csv (no column 'path' and no column 'label'; it has 'id', 'breed')" in seen.notes()


def test_what_is_left_out_is_said_only_if_there_is_something(tmp_path: Path) -> None:
    root = folders("all")(tmp_path / "x")
    (root / "m.csv").write_text("path,label\nall/0.png,fox\nall/1.png,owl\n")
    assert not any(note.startswith("left out") for note in survey(str(root)).notes())


def test_folders_that_may_be_splits_are_a_note(tmp_path: Path) -> None:
    root = folders("train", "test", "boat")(tmp_path / "x")
    assert any("test, train among the classes may be splits" in note for note in survey(str(root)).notes())


def test_a_list_of_manifests_in_the_config(tmp_path: Path) -> None:
    root = folders("all")(tmp_path / "x [1]")
    for i, word in enumerate(("fox", "owl")):
        (root / f"train_{i}.csv").write_text(f"path,label\nall/{i}.png,{word}\n")
    (root / "test.csv").write_text("path,label\nall/1.png,owl\n")
    config, notes = config_without_files(str(root), "embedded")
    assert config.input.path == (f"{root}/train_0.csv", f"{root}/train_1.csv")
    assert any(note.startswith("test.csv left alone") for note in notes)
    assert f"dataset         {root}/train_0.csv, {root}/train_1.csv: manifest" in survey(str(root)).lines()
