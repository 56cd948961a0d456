"""Which part of a dataset is taken: folders, tars and manifests that are called like splits, and those that are not."""

from __future__ import annotations

from pathlib import Path

import pytest

from augment.errors import InputError
from augment.inputs.detect import detect_dataset
from augment.inputs.patterns import expand_files
from tests.inputs.test_detect import tree

TRAIN = "left alone: what is measured on must not be trained on"


def place(root: str, found: str | tuple[str, ...]) -> str | tuple[str, ...]:
    """The path relative to the dataset."""
    if isinstance(found, str):
        return found.removeprefix(root).removeprefix("/")
    return tuple(path.removeprefix(f"{root}/") for path in found)


@pytest.mark.parametrize(
    ("names", "path", "notes"),
    [
        (("training_set/a/1.png", "test_set/a/1.png"), "training_set", [f"test_set {TRAIN}"]),
        (("train2017/a/1.png", "val2017/a/1.png", "annotations/x.txt"), "train2017", [f"val2017 {TRAIN}"]),
        (
            ("seg_train/seg_train/a/1.png", "seg_test/seg_test/a/1.png", "seg_pred/seg_pred/1.png"),
            "seg_train/seg_train",
            [f"seg_pred, seg_test {TRAIN}"],
        ),
        (
            ("train/a/1.png", "val/a/1.png", "test/a/1.png", "extra/a/1.png"),
            "train",
            [f"test, val {TRAIN}", "extra left out too: what lies beside train is no class"],
        ),
        (
            ("train/a/1.png", "test/a/1.png", "x/train/a/1.png", "x/test/a/1.png"),
            "train",
            [f"test {TRAIN}", "x left out too: what lies beside train is no class"],
        ),
        (("train/1.png", "train_masks/1.png", "test/1.png"), "train", [f"test {TRAIN}"]),
        # Vehicles and other things, whose classes are called like splits:
        (("train/1.png", "boat/1.png", "bus/1.png"), "", []),
        (("training shoe/1.png", "test_tube/1.png", "valley/1.png"), "", []),
        (("steam_train/1.png", "blood_test/1.png"), "", []),
        (("trainer/1.png", "tester/1.png"), "", []),
        (("train 1/1.png", "train 2/1.png", "train 3/1.png"), "", []),
        (("rail/train-1/1.png", "rail/tram/1.png", "road/train-1/1.png"), "", []),
    ],
)
def test_folders(tmp_path: Path, names: tuple[str, ...], path: str, notes: list[str]) -> None:
    root = tree(tmp_path / "x", *names)
    found = detect_dataset(root)
    assert (place(root, found.path), list(found.notes), found.remarks) == (path, notes, ())


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("train/1.png", "test/1.png", "boat/1.png"), "test, train among the classes may be splits"),
        (("fox/1.png", "owl/1.png", "test_set/fox/1.png"), "test_set among the classes may be splits: if so, move"),
        (("fox/1.png", "train/fox/1.png"), "train among the classes may be splits: if so, name the one to edit"),
        (("val/fox/1.png", "test/fox/1.png"), "test, val among the classes may be splits"),
    ],
)
def test_folders_that_may_be_splits_are_pointed_out(tmp_path: Path, names: tuple[str, ...], words: str) -> None:
    root = tree(tmp_path / "x", *names)
    found = detect_dataset(root)
    assert (found.path, found.format, found.notes) == (root, "imagefolder", ())
    (remark,) = found.remarks
    assert words in remark


def test_several_folders_for_training_are_refused(tmp_path: Path) -> None:
    root = tree(tmp_path / "x", "train_1/fox/1.png", "train_2/fox/1.png", "test/fox/1.png")
    with pytest.raises(InputError, match=r"several folders for training: train_1, train_2\. Name one of them"):
        detect_dataset(root)


@pytest.mark.parametrize("ending", ["tar", "csv"])
@pytest.mark.parametrize(
    ("names", "chosen", "left", "unmatched"),
    [
        (("train_1", "train_2"), ("train_1", "train_2"), "", ""),
        (("train-0-of-2", "train-1-of-2", "test-0-of-1"), ("train-0-of-2", "train-1-of-2"), "test", ""),
        (("data-0", "test-0"), ("data-0",), "test", ""),
        (("labels", "val", "test"), ("labels",), "test, val", ""),
        (("train-0", "trainval-0", "val-0"), ("train-0",), "val", "trainval-0"),
        (("train-0", "extra-0", "val-0"), ("train-0",), "val", "extra-0"),
        (("a-train-0", "a-train-1", "a-test-0"), ("a-train-0", "a-train-1"), "test", ""),
        (("test-0", "test-1"), ("test-0", "test-1"), "", ""),
        (("steam_train", "blood_test"), ("blood_test", "steam_train"), "", ""),
    ],
)
def test_files(
    tmp_path: Path, ending: str, names: tuple[str, ...], chosen: tuple[str, ...], left: str, unmatched: str
) -> None:
    root = tree(tmp_path / "x", *(f"{name}.{ending}" for name in names))
    found = detect_dataset(root)
    files = expand_files(found.path, (f".{ending}",), "files")[0]
    assert files == [f"{root}/{name}.{ending}" for name in chosen]
    measured = [note for note in found.notes if note.endswith(TRAIN)]
    assert len(measured) == bool(left) and all(word in measured[0] for word in left.split(", ") if left)
    assert [note for note in found.notes if "left out too" in note] == (
        [f"{unmatched}.{ending} left out too: not called train, as train-0.{ending} is"] if unmatched else []
    )


def test_a_split_in_the_middle_of_a_name_is_pointed_out(tmp_path: Path) -> None:
    assert detect_dataset(tree(tmp_path / "x", "a.tar", "my_test.tar")).remarks == (
        "my_test.tar taken too: if that is measured on, leave it out, because it must not be trained on",
    )
    assert detect_dataset(tree(tmp_path / "y", "test-0.tar", "val-0.tar")).remarks == (
        "all files are called test, val: what is measured on must not be trained on",
    )


def test_files_that_join_a_folder_later_are_of_the_same_split(tmp_path: Path) -> None:
    root = tree(tmp_path / "x", "train-0.tar", "val-0.tar")
    found = detect_dataset(root).path
    assert found == f"{root}/train-*.tar"
    tree(tmp_path / "x", "trainval-0.tar", "train-1.tar")
    assert expand_files(found, (".tar",), "shards")[0] == [f"{root}/train-{i}.tar" for i in range(2)]


@pytest.mark.parametrize("folder", ["x [2024]", "x{a,b}", "what?"])
def test_a_folder_whose_name_has_characters_of_patterns(tmp_path: Path, folder: str) -> None:
    root = tree(tmp_path / folder, "train-0.tar", "train-1.tar", "val-0.tar")
    found = detect_dataset(root).path
    assert expand_files(found, (".tar",), "shards")[0] == [f"{root}/train-{i}.tar" for i in range(2)]
    assert expand_files(root, (".tar",), "shards")[0][-1] == f"{root}/val-0.tar"


def test_a_pattern_of_any_depth(tmp_path: Path) -> None:
    names = ("0.tar", "a/1.tar", "a/b/2.tar", ".hidden/3.tar", "a/.4.tar")
    root = tree(tmp_path, *names)
    assert expand_files(f"{root}/**/*.tar", (".tar",), "shards")[0] == sorted(f"{root}/{name}" for name in names[:3])


def test_extensions_in_capitals(tmp_path: Path) -> None:
    (tmp_path / "ALL.CSV").write_text("path,label\na.png,fox\n")
    for path in (tmp_path / "ALL.CSV", tmp_path, tmp_path / "*.CSV"):
        assert expand_files(path, (".csv",), "manifests")[0] == [f"{tmp_path}/ALL.CSV"]
    found = detect_dataset(str(tmp_path))
    assert (found.path, found.format, found.unread) == (f"{tmp_path}/ALL.CSV", "manifest", ())


def test_a_manifest_for_training_that_cannot_be_read_is_no_reason_to_take_another(tmp_path: Path) -> None:
    root = tree(tmp_path / "x", "train-0.csv", "test.csv")
    (tmp_path / "x" / "train-1.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match=r"train-1\.parquet is not read: not a readable Parquet file: .*Mend it"):
        detect_dataset(root)


MANIFEST = "path,label\nimages/1.png,fox\nimages/2.png,owl\n"


@pytest.mark.parametrize(
    ("name", "content", "note"),
    [
        ("train.json", "{}", ""),
        ("train.tsv", "path\tlabel\n", ""),
        ("train_boxes.csv", "file,x,y\n1.png,0,0\n", ""),
        (
            "train_small.csv",
            "path,label\nimages/1.png,fox\n",
            "train_small.csv left out too: train.csv is the manifest",
        ),
        ("train.jsonl", '{"path": "images/1.png", "label": "fox"}\n', "train.jsonl left out too: train.csv is the"),
    ],
)
def test_what_lies_beside_the_manifest_for_training(tmp_path: Path, name: str, content: str, note: str) -> None:
    root = tree(tmp_path / "x", "images/1.png", "images/2.png")
    for file, text in (("train.csv", MANIFEST), ("val.csv", MANIFEST), (name, content)):
        (Path(root) / file).write_text(text)
    found = detect_dataset(root)
    assert place(root, found.path) in ("train.csv", "train.*csv") and found.notes[0] == f"val.csv {TRAIN}"
    assert [text[: len(note)] for text in found.notes[1:]] == ([note] if note else [])
    assert [Path(table).name for table, _ in found.unread] == ([] if note else [name])
