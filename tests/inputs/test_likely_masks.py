"""Masks that would be edited as pictures of their class are pointed out; copies that programs leave are no pictures."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest
from PIL import Image

from augment.inputs.formats import SPARE, kind_of_name
from augment.inputs.likely_masks import likely_masks
from augment.inputs.readers import InputFormat, list_sources
from augment.run.config import InputConfig
from augment.run.findings import dataset_warnings

PNG = io.BytesIO()
Image.new("RGB", (4, 4)).save(PNG, "PNG")


def folder(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(PNG.getvalue())
    return root


def said(path: Path, format: InputFormat = "imagefolder") -> list[str]:
    listing = list_sources(path, format, {0: "fox"} if format == "flat" else {})
    return list(likely_masks(format, listing.sources, listing.left_out))


def test_folders_of_masks_in_the_classes(tmp_path: Path) -> None:
    names = [
        f"{name}/{kind}/{name}-{i}.png" for name in ("COVID", "Normal") for kind in ("images", "masks") for i in (1, 2)
    ]
    (text,) = said(folder(tmp_path / "covid", *names))
    assert text.startswith("images in folders that are called like masks or notes: COVID/masks (2), Normal/masks (2). ")
    (text,) = said(folder(tmp_path / "flat", "a.png", "Masks/a.png"), "flat")
    assert "Masks (1)" in text


def test_masks_beside_their_pictures(tmp_path: Path) -> None:
    names = ["benign (0).png", "benign (0)_mask.png", "benign (0)_mask_1.png", "blue_mask.png", "benign (1).png"]
    (text,) = said(folder(tmp_path, *(f"benign/{name}" for name in names), "normal/benign (1)_mask.png"))
    assert text.startswith("2 images are called like masks of others, the first is ")
    assert f"{tmp_path}/benign/benign (0)_mask.png" in text


def test_classes_of_classes(tmp_path: Path) -> None:
    (text,) = said(
        folder(tmp_path, "animal/cat/0.png", "animal/dog/0.png", "car/0.png", "car/red/0.png", "bus/a/b/0.png")
    )
    assert "no image beside these: animal (cat, dog). All" in text


def test_classes_called_like_masks_are_classes(tmp_path: Path) -> None:
    assert not said(folder(tmp_path, "masks/0.png", "labels/0.png"))


def test_the_image_that_is_taken_of_a_sample_is_named(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name, data in (("0.jpg", b"\xff\xd8\xff"), ("0.png", PNG.getvalue()), ("0.cls", b"0"), ("0.b.png", b"x")):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    listing = list_sources(tmp_path, "webdataset", {0: "fox"})
    config = InputConfig(path=str(tmp_path), format="webdataset", image_size=64)
    texts = list(dataset_warnings(config, listing.sources, {0: "fox"}, listing.left_out))
    assert any("1 further image of a sample (.jpg; its .png is taken)" in text for text in texts)
    assert listing.left_out["further image of a sample"] == 1


@pytest.mark.parametrize("name", ["0.jpg~", "0.jpg.bak", "0.JPG.ORIG", "0.jpg.part", "0.png.crdownload", "0.png.tmp"])
def test_copies_that_programs_leave_are_left_out(tmp_path: Path, name: str) -> None:
    assert kind_of_name(name) == SPARE
    listing = list_sources(folder(tmp_path, "fox/0.jpg", f"fox/{name}", "fox/0 - Copy.jpg", "owl/0.png"), "imagefolder")
    assert len(listing.sources) == 3 and listing.left_out == {"backup or unfinished": 1}
