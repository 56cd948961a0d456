"""What lies at a path: formats, splits, and what is no dataset."""

from __future__ import annotations

from pathlib import Path

import pytest

from augment.errors import InputError
from augment.inputs.detect import Detected, detect_dataset
from augment.storage.tar import write_tar


def tree(root: Path, *names: str) -> str:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(".tar"):
            write_tar(root / name, [("a", {"cls": b"0"})])
        else:
            (root / name).write_text("path,label\na.png,fox\n" if name.endswith(".csv") else "")
    return str(root)


TRAIN = "what is measured on must not be trained on"


@pytest.mark.parametrize(
    ("names", "place", "format", "splits", "left"),
    [
        (("fox/1.png", "owl/1.png"), "", "imagefolder", (), ""),
        (("train/1.png", "boat/1.png"), "", "imagefolder", (), ""),  # trains and boats
        (
            ("train/fox/1.png", "val/fox/1.png", "test/fox/1.png"),
            "train",
            "imagefolder",
            ("test", "train", "val"),
            "test, val",
        ),
        (("Train/fox/1.png", "Validation/fox/1.png"), "Train", "imagefolder", ("Train", "Validation"), "Validation"),
        (("train/fox/1.png", "ground_truth/fox/1.png"), "train", "imagefolder", ("train",), ""),
        (("images/fox/1.png", "attributes/list.txt"), "images", "imagefolder", (), ""),
        (("data/train/fox/1.png", "data/val/fox/1.png"), "data/train", "imagefolder", ("train", "val"), "val"),
        (("1.png", "2.png", "notes.txt"), "", "flat", (), ""),
        (("0.tar", "1.tar"), "", "webdataset", (), ""),
        (("train-0.tar", "train-1.tar", "val-0.tar"), "train-*.tar", "webdataset", ("train", "val"), "tars of val"),
        (("trained.tar", "trains.tar"), "", "webdataset", (), ""),
        (("a.csv", "all/a.png"), "a.csv", "manifest", (), ""),
        (("train.csv", "test.csv", "all/a.png"), "train.csv", "manifest", ("test", "train"), "test.csv"),
    ],
)
def test_folders(
    tmp_path: Path, names: tuple[str, ...], place: str, format: str, splits: tuple[str, ...], left: str
) -> None:
    root = tree(tmp_path / "x", *names)
    found = detect_dataset(root)
    assert (found.path, found.format, found.split) == (f"{root}/{place}".rstrip("/"), format, None)
    assert found.splits == splits
    assert found.notes == ((f"{left} left alone: {TRAIN}",) if left else ())


def test_a_manifest_with_a_column_for_the_split(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("path,label,split\na.png,fox,Train\nb.png,fox,test\nc.png,fox,test\n")
    expected = Detected(str(file), "manifest", "Train", ("Train", "test"), (f"2 rows of test left alone: {TRAIN}",))
    assert detect_dataset(str(file)) == expected
    assert detect_dataset(str(tmp_path)) == expected
    file.write_text("path,label,split\na.png,fox,one\n")
    assert detect_dataset(str(file)) == Detected(str(file), "manifest", None, ("one",))


def test_tables_that_are_no_manifests_are_passed_by(tmp_path: Path) -> None:
    root = tree(tmp_path / "x", "fox/1.png")
    (tmp_path / "x" / "authors.csv").write_text("name,year\nsomebody,2020\n")
    assert detect_dataset(root).format == "imagefolder"


def test_one_tar_and_a_packaged_dataset() -> None:
    assert detect_dataset("s3://bucket/train-{000..009}.tar") == Detected(
        "s3://bucket/train-{000..009}.tar", "webdataset"
    )
    assert detect_dataset("embedded:val") == Detected("embedded:val", "webdataset")


def test_a_folder_in_a_store() -> None:
    import fsspec

    store = fsspec.filesystem("memory")
    for name in ("train/fox/1.png", "val/fox/1.png"):
        store.pipe(f"/detect/{name}", b"")
    found = detect_dataset("memory://detect")
    assert (found.path, found.format, found.splits) == ("memory://detect/train", "imagefolder", ("train", "val"))


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("a.zip",), "no image in .*1 file.s. with .zip"),
        (
            ("a/train/good/1.png", "b/train/good/1.png"),
            "several datasets, each with a part for training: a, b. Name one",
        ),
        (("1.png", "fox/1.png"), r"holds 1 image\(s\), the first is 1.png, beside folders of images \(fox\)"),
    ],
)
def test_what_is_no_dataset(tmp_path: Path, names: tuple[str, ...], words: str) -> None:
    with pytest.raises(InputError, match=words):
        detect_dataset(tree(tmp_path / "x", *names))
