"""What datasets are put together: classes, groups, manifests, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from augment.errors import InputError
from augment.inputs.fit import Fit
from augment.storage.tar import write_tar
from augment.training.config import DataConfig
from augment.training.data import Pixels, groups_of, list_sets
from tests.training.toy import NAMES, SIZE, picture, samples, write_split, write_toy


def data(folder: Path, **changes: Any) -> DataConfig:
    return DataConfig.model_validate(write_toy(folder)["data"] | changes)


def test_sets_are_listed_with_their_classes_and_groups(tmp_path: Path) -> None:
    sets = list_sets(data(tmp_path))
    assert sets.counts == {"real": 24, "synthetic": 18, "val": 18, "test": 12}
    assert (sets.class_names, sets.labels) == (NAMES, (0, 1, 2))
    assert sets.targets(sets.val).tolist() == [0] * 6 + [1] * 6 + [2] * 6
    groups = groups_of(sets.test, ("background", "class"))
    assert groups == {"background": ["dark", "light"] * 6, "class": ["red"] * 4 + ["green"] * 4 + ["blue"] * 4}


def test_without_a_share_of_one_kind_it_is_not_even_listed(tmp_path: Path) -> None:
    edits = {"path": str(tmp_path / "edits"), "ratio": 1}
    assert list_sets(data(tmp_path, synthetic=edits)).counts["real"] == 0
    assert list_sets(data(tmp_path, synthetic=edits, real=None)).counts["synthetic"] == 18
    nowhere = {"path": str(tmp_path / "nowhere"), "ratio": 0}
    assert list_sets(data(tmp_path, synthetic=nowhere)).counts["synthetic"] == 0


def test_labels_may_have_gaps(tmp_path: Path) -> None:
    for split in ("a", "b"):
        moved = [(key, files | {"cls": b"%d" % (10 * int(files["cls"]))}) for key, files in samples(split, 2)]
        write_tar(tmp_path / f"{split}.tar", moved)
    real, val = ({"path": str(tmp_path / f"{split}.tar")} for split in ("a", "b"))
    sets = list_sets(data(tmp_path, real=real, val=val, synthetic=None, test=None))
    assert sets.labels == (0, 10, 20) and sets.targets(sets.val).tolist() == [0, 0, 1, 1, 2, 2]


def test_a_manifests_columns_are_groups(tmp_path: Path) -> None:
    lines = ["path,label,split,hour"]
    for split in ("train", "val"):
        for label, name in enumerate(NAMES):
            (tmp_path / f"{split}{label}.png").write_bytes(picture(label, 0, split))
            lines.append(f"{split}{label}.png,{name},{split},{7 + label}")
    (tmp_path / "m.csv").write_text("\n".join(lines) + "\n")
    real, val = ({"path": str(tmp_path / "m.csv"), "format": "manifest", "split": s} for s in ("train", "val"))
    sets = list_sets(data(tmp_path, real=real, val=val, synthetic=None, test=None, groups=["hour"]))
    assert sets.counts == {"real": 3, "synthetic": 0, "val": 3, "test": 0}
    assert dict(zip([s.class_name for s in sets.val], groups_of(sets.val, ["hour"])["hour"], strict=True)) == {
        "red": "7",
        "green": "8",
        "blue": "9",
    }


def test_a_folder_without_a_class_is_noticed_because_its_labels_moved(tmp_path: Path) -> None:
    for split, names in (("train", NAMES), ("val", NAMES[:2])):
        for label, name in enumerate(names):
            (tmp_path / split / name).mkdir(parents=True)
            (tmp_path / split / name / "a.png").write_bytes(picture(label, 0, split))
    real, val = ({"path": str(tmp_path / split), "format": "imagefolder"} for split in ("train", "val"))
    with pytest.raises(InputError, match=r"class 0 is 'green' in data\.val, but 'blue' in data\.real"):
        list_sets(data(tmp_path, real=real, val=val, synthetic=None, test=None))


def test_a_class_that_is_not_trained_is_refused(tmp_path: Path) -> None:
    write_tar(tmp_path / "two.tar", [s for s in samples("two", 2) if s[1]["cls"] != b"2"])
    with pytest.raises(InputError, match=r"data.val has the class 2 \('blue'\), which data.real does not have"):
        list_sets(data(tmp_path, real={"path": str(tmp_path / "two.tar")}, synthetic=None))


def test_groups_must_be_known_of_every_picture(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"'weather' is not known of 18 of the 18 .*data\.val.* known: background"):
        list_sets(data(tmp_path, groups=["weather"]))


def test_an_output_that_is_not_finished_is_refused(tmp_path: Path) -> None:
    config = data(tmp_path)
    (tmp_path / "edits" / "manifest.json").unlink()
    with pytest.raises(
        InputError, match=r"edits has no manifest.json.* run `augment expand` or `augment finalize` first"
    ):
        list_sets(config)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"real": None}, "it needs `synthetic` with ratio: 1"),
        ({"fit": "bucket"}, "take crop, pad or stretch"),
    ],
)
def test_settings_that_contradict_each_other(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        data(tmp_path, **changes)


def test_pixels_are_kept_as_long_as_there_is_room_and_damaged_pictures_are_named(tmp_path: Path) -> None:
    sources = list_sets(data(tmp_path)).val
    pixels = Pixels(sources, Fit("crop", SIZE), max_bytes=2 * 3 * SIZE**2)
    taken = pixels.take([0, 1, 2])
    assert taken.shape == (3, SIZE, SIZE, 3) and taken.dtype == np.uint8
    assert pixels[0] is pixels[0] and pixels[2] is not pixels[2]
    assert np.array_equal(pixels[2], taken[2])
    write_tar(tmp_path / "bad.tar", [(key, files | {"png": b"\x89PNG"}) for key, files in samples("bad", 1)])
    bad = list_sets(data(tmp_path, val={"path": str(tmp_path / "bad.tar")})).val
    with pytest.raises(InputError, match=r"bad.tar::bad_0_00.png: .*Mend it"):
        Pixels(bad, Fit("crop", SIZE), 0)[0]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({0: "red", 1: "red", 2: "blue"}, "two labels are called 'red'"),
        ({0: "red"}, "there is one class only, 'red'"),
    ],
)
def test_classes_that_cannot_be_told_apart(tmp_path: Path, names: dict[int, str], message: str) -> None:
    for split in ("train", "val"):
        write_tar(
            tmp_path / f"{split}.tar",
            [
                (key, {"png": files["png"], "cls": files["cls"]})
                for key, files in samples(split, 2)
                if int(files["cls"]) in names
            ],
        )
    real, val = ({"path": str(tmp_path / f"{split}.tar"), "class_names": names} for split in ("train", "val"))
    config = {"real": real, "val": val, "image_size": SIZE}
    with pytest.raises(InputError, match=message):
        list_sets(DataConfig.model_validate(config))


def test_errors_name_the_keys_of_their_section(tmp_path: Path) -> None:
    (tmp_path / "flat").mkdir()
    (tmp_path / "flat" / "a.png").write_bytes(picture(0, 0, "flat"))
    with pytest.raises(InputError, match=r"data.real: .*data.real.class_names must give"):
        list_sets(data(tmp_path, real={"path": str(tmp_path / "flat"), "format": "flat"}))


def test_shipped_splits_are_known_by_name(tmp_path: Path) -> None:
    val = write_split(tmp_path, "val", 1)
    config = DataConfig.model_validate(
        {"real": {"path": "embedded:train"}, "val": {"path": str(val)}, "image_size": 64}
    )
    with pytest.raises(InputError, match=r"class 0 is 'red' in data\.val, but 'fox' in data\.real"):
        list_sets(config)
