"""What the pictures of a dataset look like on the whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from augment.inputs.appearance import Appearance, appearance_of
from augment.types import Source
from tests.run.shapes import picture


def sources(folder: Path, *pixels: np.ndarray) -> list[Source]:
    found = []
    for i, each in enumerate(pixels):
        path = folder / f"{i}.png"
        Image.fromarray(each).save(path)
        found.append(Source(str(i), str(path), path.stat().st_size, 0, "x"))
    return found


def drawing() -> np.ndarray:
    pixels = np.full((64, 64, 3), 200, np.uint8)
    pixels[20:40, 20:40] = (180, 30, 30)
    return pixels


@pytest.mark.parametrize(
    ("pixels", "grey", "white", "flat"),
    [
        (picture(0), 0, 0, 0),
        (picture(0, grey=True), 1, 0, 0),
        (picture(0, (64, 64), white=True), 0, 1, 0),
        (drawing(), 0, 0, 1),
    ],
)
def test_kinds_of_pictures(tmp_path: Path, pixels: np.ndarray, grey: int, white: int, flat: int) -> None:
    seen = appearance_of(sources(tmp_path, pixels))
    assert (seen.grey, seen.plain_border, seen.flat) == (grey, white, flat)


def test_shares_and_sizes(tmp_path: Path) -> None:
    found = sources(tmp_path, picture(0, (80, 40)), picture(1, (20, 10), grey=True), picture(2, (30, 50)))
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    seen = appearance_of([*found, Source("b", str(broken), 10, 0, "x")])
    assert (seen.sizes, seen.median_size) == (((20, 10), (30, 50), (80, 40)), (30, 50))
    assert (seen.looked_at, seen.grey) == (3, pytest.approx(1 / 3))


def test_pictures_elsewhere_are_not_fetched() -> None:
    seen = appearance_of([Source("a", "s3://bucket/a.png", 10, 0, "x")])
    assert (seen, seen.median_size) == (Appearance(), None)
