"""Small marks on an object: painted on its glyph, so that they move, turn and flip with it. No caption names them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from augment.tiny.glyphs import sprite

# Where each mark wants to be, as shares of the glyph's width and height, and half its extent, as shares of the width.
MARK_PLACES: dict[str, tuple[float, float, float, float]] = {
    "dot": (0.62, 0.45, 0.11, 0.11),
    "stripe": (0.50, 0.62, 0.24, 0.055),
    "patch": (0.40, 0.50, 0.13, 0.13),
    "badge": (0.70, 0.70, 0.13, 0.13),
}
MARKS: tuple[str, ...] = tuple(MARK_PLACES)
MARK_COLOURS: dict[str, tuple[int, int, int]] = {
    "white": (250, 250, 250),
    "black": (20, 20, 24),
    "magenta": (226, 30, 140),
    "blue": (30, 90, 225),
    "yellow": (252, 214, 40),
    "cyan": (40, 205, 215),
}


@dataclass(frozen=True)
class Mark:
    """A mark on an object: its shape, one of `MARKS`, and its colour, one of `MARK_COLOURS`."""

    shape: str
    colour: str


@lru_cache(maxsize=1024)
def marked_sprite(name: str, mark: Mark) -> Image.Image:
    """Return the glyph with the mark painted on its ink; a badge has a rim and may reach beyond the ink."""
    picture = sprite(name).copy()
    side = picture.width
    *_, half_width, half_height = MARK_PLACES[mark.shape]
    centre = mark_centre(name, mark.shape)
    x, y = centre[0] * side, centre[1] * side
    box = (x - half_width * side, y - half_height * side, x + half_width * side, y + half_height * side)
    mask = Image.new("L", picture.size, 0)
    pen = ImageDraw.Draw(mask)
    (pen.ellipse if mark.shape in ("dot", "badge") else pen.rectangle)(box, fill=255)
    paint = Image.new("RGBA", picture.size, (*MARK_COLOURS[mark.colour], 255))
    if mark.shape == "badge":
        rim = 0.035 * side
        inner = (box[0] + rim, box[1] + rim, box[2] - rim, box[3] - rim)
        ImageDraw.Draw(paint).ellipse(inner, fill=(250, 250, 250, 255) if mark.colour != "white" else (40, 40, 44, 255))
        picture.paste(paint, (0, 0), mask)
        return picture
    coverage = picture.getchannel("A")
    picture.paste(paint, (0, 0), mask)
    picture.putalpha(coverage)  # a mark lies on the ink
    return picture


@lru_cache(maxsize=2048)
def mark_centre(name: str, shape: str) -> tuple[float, float]:
    """Return a mark's centre in its glyph's frame, x and y in 0..1: the nearest place to its own with ink."""
    wanted_x, wanted_y, half_width, half_height = MARK_PLACES[shape]
    coverage = sprite(name).getchannel("A").resize((64, 64), Image.Resampling.BOX)
    filled = np.asarray(coverage.filter(ImageFilter.BoxBlur(64 * max(half_width, half_height))), np.float32)
    rows, columns = np.nonzero(filled >= min(250.0, 0.98 * filled.max()))
    x, y = (columns + 0.5) / 64, (rows + 0.5) / 64
    nearest = int(np.argmin((x - wanted_x) ** 2 + (y - wanted_y) ** 2))
    return float(x[nearest]), float(y[nearest])
