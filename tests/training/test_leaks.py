"""Planted leaks are refused by name; clean sets pass."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from augment.errors import InputError, LeakError
from augment.inputs.packaged import packaged_path
from augment.inputs.readers import list_sources
from augment.storage.tar import write_tar
from augment.training import leaks as leaks_module
from augment.training.config import DataConfig
from augment.training.data import TrainingSets, list_sets
from augment.training.leaks import check_leaks, refuse_held_out
from augment.training.loader import mixed_loader
from tests.training.toy import files_of, samples, write_edits, write_split, write_toy


def sets_of(folder: Path, **changes: Any) -> TrainingSets:
    return list_sets(DataConfig.model_validate(write_toy(folder)["data"] | changes))


def shipped(split: str) -> Path:
    path = packaged_path(f"embedded:{split}")
    assert path is not None
    return Path(path)


def test_clean_sets_pass(tmp_path: Path) -> None:
    check_leaks(sets_of(tmp_path), near_duplicates=True)


@pytest.mark.slow
def test_the_shipped_splits_are_clean() -> None:
    train, val, test = (list_sources(shipped(name), "webdataset").sources for name in ("train", "val", "test"))
    check_leaks(TrainingSets((), (), train, [], val, test), near_duplicates=True)


@pytest.mark.parametrize("near", [True, False])
@pytest.mark.parametrize("held", ["val", "test"])
def test_a_picture_that_is_also_held_out_is_refused(tmp_path: Path, held: str, near: bool) -> None:
    write_toy(tmp_path)
    planted = samples(held, 1)[1]
    write_tar(tmp_path / "planted.tar", [*samples("train", 4), ("other", planted[1])])
    sets = sets_of(tmp_path, real={"path": str(tmp_path / "planted.tar")})
    place = rf"real \S*planted.tar::other.png is the same file as {held} \S*{held}.tar::{held}_1_00.png"
    with pytest.raises(LeakError, match=rf"1 picture of val or test would be trained on\.[^\n]*\n  {place}$"):
        check_leaks(sets, near)


def test_edits_of_a_held_out_picture_are_refused(tmp_path: Path) -> None:
    write_edits(tmp_path / "made", [*files_of("train", 2)[:5], files_of("val", 6)[2]])
    sets = sets_of(tmp_path, synthetic={"path": str(tmp_path / "made"), "ratio": 0.5})
    made = r"synthetic \S*train-000000.tar::edit0(05|11|17).png was made of val \S*val.tar::val_0_02.png"
    with pytest.raises(LeakError, match=rf"3 pictures of val or test .*(\n  {made}){{3}}$"):
        check_leaks(sets, near_duplicates=False)


def test_another_version_of_a_held_out_picture_is_refused_unless_that_is_switched_off(tmp_path: Path) -> None:
    """A picture of emoji world, saved again as JPEG."""
    test = list_sources(shipped("test"), "webdataset").sources[:8]
    picture = Image.open(io.BytesIO(Path(shipped("test")).read_bytes()[int(test[3].locator.rpartition("@")[2]) :]))
    again = io.BytesIO()
    picture.convert("RGB").save(again, "JPEG", quality=85)
    write_tar(
        tmp_path / "again.tar", [("again", {"jpg": again.getvalue(), "cls": b"0", "json": b'{"class_name": "x"}'})]
    )
    real = list_sources(tmp_path / "again.tar", "webdataset").sources
    sets = TrainingSets((), (), real, [], [], test)
    check_leaks(sets, near_duplicates=False)
    hint = r"`leaks.near_duplicates: false` asks for [^\n]*"
    another = rf"{hint}\n  real \S*again.jpg is another version of test \S*{test[3].key}.png"
    with pytest.raises(LeakError, match=another):
        check_leaks(sets, near_duplicates=True)
    # The ratio 1: real pictures are not trained on, but what was made of them is.
    with pytest.raises(LeakError, match=r"again.jpg is another version of test"):
        check_leaks(TrainingSets((), (), [], [], [], test, passed_over=real), near_duplicates=True)


def test_real_pictures_that_edits_stand_for_are_looked_at_too(tmp_path: Path) -> None:
    synthetic = write_toy(tmp_path)["data"]["synthetic"] | {"ratio": 1.0}
    sets = sets_of(tmp_path, synthetic=synthetic)
    assert not sets.real and len(sets.passed_over) == 24


@pytest.mark.parametrize("shared", [1, 17, 18])
def test_pictures_of_val_in_test_are_refused(tmp_path: Path, shared: int) -> None:
    sets = sets_of(tmp_path)
    sets.test[1:] = sets.val[:shared]
    same = r"val \S*val.tar::val_0_00.png is the same file as test \S*val.tar::val_0_00.png"
    with pytest.raises(LeakError, match=rf"{shared} of the 18 pictures of val are in test too.*:\n  {same}"):
        check_leaks(sets, near_duplicates=False)


def test_each_picture_is_decoded_twice_at_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures on one background are candidates in pairs, very many of them."""
    calls: list[bytes] = []
    decode = leaks_module.decode_image
    monkeypatch.setattr(leaks_module, "decode_image", lambda data: calls.append(data) or decode(data))
    monkeypatch.setattr(leaks_module, "difference_hash", lambda picture: 0)
    sets = sets_of(tmp_path)
    check_leaks(sets, near_duplicates=True)
    assert len(calls) == 2 * sum(sets.counts.values())


def test_edits_that_do_not_name_their_source_are_refused(tmp_path: Path) -> None:
    write_toy(tmp_path)
    folder = tmp_path / "foreign"
    write_tar(folder / "shards" / "train-000000.tar", samples("foreign", 1))
    (folder / "manifest.json").write_text("{}")
    with pytest.raises(InputError, match=r"its \.json has no source_sha256"):
        check_leaks(sets_of(tmp_path, synthetic={"path": str(folder), "ratio": 0.5}), near_duplicates=False)


def test_damaged_pictures_are_all_named_at_once(tmp_path: Path) -> None:
    write_toy(tmp_path)
    broken = [(key, files | {"png": b"\x89PNG"}) for key, files in samples("broken", 1)]
    write_tar(tmp_path / "broken.tar", [*samples("train", 2), *broken])
    sets = sets_of(tmp_path, real={"path": str(tmp_path / "broken.tar")})
    with pytest.raises(
        InputError, match=r"3 pictures cannot be used.*\n.*broken_0_00.*\n.*broken_1_00.*\n.*broken_2_00"
    ):
        check_leaks(sets, near_duplicates=True)


def test_the_loader_refuses_edits_of_what_is_held_out(tmp_path: Path) -> None:
    write_toy(tmp_path)
    arguments = {"batch_size": 4, "epoch_samples": 8, "image_size": 16}
    held = [tmp_path / "val.tar", tmp_path / "test.tar"]
    mixed_loader(tmp_path / "train.tar", tmp_path / "edits" / "shards", held_out=held, **arguments)
    write_edits(tmp_path / "made", [*files_of("train", 2)[:5], files_of("test", 4)[2]])
    made = r"synthetic \S*train-000000.tar::edit0(05|11|17).png was made of held out \S*test.tar::test_0_02.png"
    with pytest.raises(LeakError, match=rf"3 pictures of what is held out would be trained on.*(\n  {made}){{3}}$"):
        mixed_loader(tmp_path / "train.tar", tmp_path / "made" / "shards", held_out=held, **arguments)
    same = r"24 pictures .*\n  real \S*train.tar::train_0_00.png is the same file as held out \S*train.tar"
    with pytest.raises(LeakError, match=same):
        mixed_loader(tmp_path / "train.tar", held_out=[tmp_path / "train.tar"], **arguments)


def test_what_is_held_out_may_be_a_folder_of_pictures_with_or_without_classes(tmp_path: Path) -> None:
    shard = write_split(tmp_path, "train", 1)
    for name in ("flat/a.png", "classes/red/a.png", "classes/blue/b.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(files_of("train" if name.endswith("a.png") else "val", 1)[0])
    for folder in ("flat", "classes"):
        with pytest.raises(
            LeakError, match=rf"1 picture .*\n.*train_0_00.png is the same file as held out \S*{folder}"
        ):
            refuse_held_out([tmp_path / folder], [str(shard)])


def test_a_folder_of_several_splits_is_not_held_out_in_part(tmp_path: Path) -> None:
    shard = write_split(tmp_path / "data", "train", 1)
    write_split(tmp_path / "data", "val", 1)
    with pytest.raises(InputError, match=r"held_out: \S*data holds several splits, name the files of the right one"):
        refuse_held_out([tmp_path / "data"], [str(shard)])
