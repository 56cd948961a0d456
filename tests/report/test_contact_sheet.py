from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from augment.inputs.images import encode_png
from augment.report.contact_sheet import (
    GAP,
    HEADER,
    LINE_HEIGHT,
    LINES,
    TILE,
    Tile,
    contact_sheet,
)

BLUE = encode_png(np.full((8, 8, 3), (0, 0, 255), np.uint8))
LARGE = encode_png(np.full((300, 300, 3), (0, 200, 0), np.uint8))
ROWS = [
    [Tile(BLUE, "a fox"), Tile(LARGE, "26.1 dB"), Tile(BLUE, "a fox on snow", "accepted")],
    [Tile(b"", "gone"), Tile(BLUE, ""), Tile(BLUE, "at night", "rejected", "label_probability 0.1 < 0.5")],
    [Tile(BLUE, "a fóx"), Tile(b"", ""), Tile(b"", "at night", "failed", "the file has zero bytes")],
]


def open_sheet(data: bytes) -> Image.Image:
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        return image.convert("RGB")


def corner(row: int, column: int) -> tuple[int, int]:
    return GAP + column * (TILE + GAP), HEADER * 2 + row * (TILE + LINES * LINE_HEIGHT + GAP)


def test_pictures_lie_on_the_grid() -> None:
    sheet = open_sheet(contact_sheet(ROWS, "title"))
    x, y = corner(0, 0)
    assert sheet.getpixel((x, y)) == (0, 0, 255)
    assert sheet.getpixel((x + TILE - 1, y + TILE - 1)) == (0, 0, 255)
    x, y = corner(0, 1)
    assert sheet.getpixel((x + TILE // 2, y + TILE // 2)) == (0, 200, 0)
    assert sheet.width == 3 * (TILE + GAP) + GAP


def test_the_longer_side_of_a_picture_fills_its_tile() -> None:
    wide = encode_png(np.full((100, 300, 3), (0, 200, 0), np.uint8))
    high = encode_png(np.full((8, 4, 3), (0, 0, 255), np.uint8))
    sheet = open_sheet(contact_sheet([[Tile(wide, ""), Tile(high, "")]], "title"))
    left, top = corner(0, 0)
    green = [y for y in range(TILE) if sheet.getpixel((left + TILE - 1, top + y)) == (0, 200, 0)]
    assert (green[0], green[-1]) == ((TILE - 43) // 2, (TILE - 43) // 2 + 42)
    left, top = corner(0, 1)
    blue = [x for x in range(TILE) if sheet.getpixel((left + x, top + TILE - 1)) == (0, 0, 255)]
    assert (blue[0], blue[-1]) == (TILE // 4, TILE // 4 + TILE // 2 - 1)


def test_only_what_was_dropped_is_framed() -> None:
    sheet = open_sheet(contact_sheet(ROWS, "title"))
    frames = [sheet.getpixel((corner(row, 2)[0] - 2, corner(row, 2)[1] + 40)) for row in range(3)]
    assert frames == [(255, 255, 255), (0xD1, 0x49, 0x5B), (0x99, 0x99, 0x99)]
    assert sheet.getpixel((corner(0, 0)[0] - 2, corner(0, 0)[1] + 40)) == (255, 255, 255)


def test_same_arguments_same_bytes_and_a_reason_shows() -> None:
    assert contact_sheet(ROWS, "title") == contact_sheet(ROWS, "title")
    silent = [ROWS[0], [*ROWS[1][:2], Tile(BLUE, "at night", "rejected")], ROWS[2]]
    assert contact_sheet(silent, "title") != contact_sheet(ROWS, "title")


def test_no_rows() -> None:
    with pytest.raises(ValueError, match="at least one row"):
        contact_sheet([], "title")
