"""Sizes of pictures from the beginning of their files."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from augment.inputs.headers import picture_size
from augment.inputs.images import decode_image, encode_png
from augment.inputs.readers import list_sources, read_bytes
from augment.tiny.dataset import split_path
from augment.types import Source
from tests.object_store import FreshUrl


def source(path: Path | str, data: bytes = b"") -> Source:
    if data:
        Path(path).write_bytes(data)
    return Source("key", str(path), len(data), 0, "fox")


def turned(orientation: int, kind: str) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    Image.new("RGB", (40, 20)).save(buffer, kind, exif=exif)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "MPO"])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_it_is_the_size_of_the_decoded_picture(tmp_path: Path, kind: str, orientation: int) -> None:
    data = turned(orientation, kind)
    size = picture_size(source(tmp_path / "a.bin", data))
    assert size == decode_image(data).size == ((20, 40) if orientation in (6, 8) else (40, 20))


@pytest.mark.parametrize("kind", ["TGA", "BMP", "GIF", "JPEG2000", "PPM", "SGI", "PCX", "ICO", "DDS", "QOI"])
def test_formats_without_orientation(tmp_path: Path, kind: str) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (32, 16)).save(buffer, kind)
    data = buffer.getvalue()
    assert picture_size(source(tmp_path / "a.bin", data)) == decode_image(data).size


def test_files_in_tars() -> None:
    for found in list_sources(split_path("val"), "webdataset").sources[:3]:
        assert picture_size(found) == decode_image(read_bytes(found)).size == (64, 64)


def test_the_pixels_are_not_needed(tmp_path: Path) -> None:
    data = encode_png(np.random.default_rng(0).integers(0, 256, (50, 30, 3), dtype=np.uint8))
    assert picture_size(source(tmp_path / "cut.png", data[:100])) == (30, 50)


@pytest.mark.parametrize("data", [b"no picture at all", encode_png(np.zeros((8, 8, 3), np.uint8))[:12]])
def test_what_is_no_picture_has_no_size(tmp_path: Path, data: bytes) -> None:
    assert picture_size(source(tmp_path / "a.png", data)) is None


def test_what_is_not_there_has_no_size(tmp_path: Path) -> None:
    assert picture_size(source(tmp_path / "nothing.png")) is None
    assert picture_size(source(f"{tmp_path}/nothing.tar::a.png@512")) is None


def test_on_an_object_store(object_store: FreshUrl) -> None:
    from augment.storage.resolve import open_store

    url = object_store()
    open_store(url).write("a.png", encode_png(np.zeros((8, 24, 3), np.uint8)))
    assert picture_size(source(f"{url}/a.png")) == (24, 8)
