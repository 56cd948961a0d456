"""The contact sheet: one row per image, source | reconstruction | edits; dropped ones are framed, with their reason."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

TILE = 128  # side of a picture in pixels
GAP = 10
LINES = 4  # lines of caption under a picture
LINE_HEIGHT = 12
LINE_WIDTH = 23  # characters that fit under a tile
HEADER = 24
_PAPER, _INK, _FAINT = "#ffffff", "#222222", "#777777"
_FRAMES = {"accepted": "", "rejected": "#d1495b", "failed": "#999999"}


@dataclass(frozen=True)
class Tile:
    """One picture of the sheet.

    Attributes:
        picture: an image file's content, or b"" for an empty tile.
        caption: the words below it.
        status: `accepted`, `rejected`, `failed`, or "" for sources and reconstructions.
        reason: why it was dropped.
    """

    picture: bytes
    caption: str
    status: str = ""
    reason: str = ""


def contact_sheet(
    rows: Sequence[Sequence[Tile]], title: str, headings: Sequence[str] = ("source", "reconstruction", "edits")
) -> bytes:
    """Return rows of tiles, laid out as a PNG; `headings` stand above the first columns.

    The bytes depend on the arguments and on Pillow's version only: the font is Pillow's own.

    Raises:
        ValueError: if there are no rows.
    """
    if not rows:
        raise ValueError("a contact sheet needs at least one row")
    columns = max(map(len, rows))
    step_x, step_y = TILE + GAP, TILE + LINES * LINE_HEIGHT + GAP
    sheet = Image.new("RGB", (columns * step_x + GAP, HEADER * 2 + len(rows) * step_y + GAP), _PAPER)
    draw = ImageDraw.Draw(sheet)
    big, small = ImageFont.load_default(14), ImageFont.load_default(10)
    draw.text((GAP, 6), title, fill=_INK, font=big)
    for column, heading in enumerate(headings[:columns]):
        draw.text((GAP + column * step_x, HEADER + 4), heading, fill=_FAINT, font=small)
    for y, row in enumerate(rows):
        for x, tile in enumerate(row):
            _draw_tile(sheet, draw, small, (GAP + x * step_x, HEADER * 2 + y * step_y), tile)
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG", compress_level=9)
    return buffer.getvalue()


def _draw_tile(
    sheet: Image.Image,
    draw: ImageDraw.ImageDraw,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    corner: tuple[int, int],
    tile: Tile,
) -> None:
    x, y = corner
    frame = _FRAMES.get(tile.status, "")
    if tile.picture:
        with Image.open(io.BytesIO(tile.picture)) as picture:
            # Small pictures keep their pixels; large ones are averaged. The longer side fills the tile.
            longer = max(picture.size)
            filter = Image.Resampling.NEAREST if longer <= TILE else Image.Resampling.BOX
            width, height = (max(1, round(TILE * side / longer)) for side in picture.size)
            place = x + (TILE - width) // 2, y + (TILE - height) // 2
            sheet.paste(picture.convert("RGB").resize((width, height), filter), place)
    else:
        draw.rectangle((x, y, x + TILE - 1, y + TILE - 1), fill="#eeeeee")
        draw.text((x + TILE // 2, y + TILE // 2), tile.status or "none", fill=_FAINT, font=font, anchor="mm")
    if frame:
        draw.rectangle((x - 3, y - 3, x + TILE + 2, y + TILE + 2), outline=frame, width=3)
    reason = textwrap.wrap(_ascii(tile.reason).replace("_", " "), LINE_WIDTH)[:2]
    caption = textwrap.wrap(_ascii(tile.caption), LINE_WIDTH)[: LINES - len(reason)]
    lines = [(line, _INK) for line in caption] + [(line, frame or _INK) for line in reason]
    for i, (line, colour) in enumerate(lines):
        draw.text((x, y + TILE + 3 + i * LINE_HEIGHT), line, fill=colour, font=font)


def _ascii(text: str) -> str:
    """Replace what is not ASCII by question marks: Pillow's own font would show most of it as empty boxes."""
    return text.encode("ascii", "replace").decode()
