"""The glyphs of emoji world: 16 with a name, about 1,000 without, and which of those no training picture may show.

`glyphs.tsv` lists them: code point, set (`named`, `seen` or `held_out`) and name. `python -m jobs.list_glyphs` writes
it from the font and says by which rule.
"""

from __future__ import annotations

from functools import cache, lru_cache
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

FONT_SIZE = 109  # the only bitmap strike the Noto Color Emoji font contains
FONT_PATHS = (
    "/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf",  # Debian, Ubuntu
    "/usr/share/fonts/google-noto-color-emoji-fonts/NotoColorEmoji.ttf",  # Fedora
    "/usr/share/fonts/noto/NotoColorEmoji.ttf",  # Arch
)
GLYPH_LIST = Path(__file__).parent / "glyphs.tsv"

OBJECTS: dict[str, str] = {
    "fox": "\U0001f98a",
    "owl": "\U0001f989",
    "penguin": "\U0001f427",
    "fish": "\U0001f420",
    "turtle": "\U0001f422",
    "butterfly": "\U0001f98b",
    "elephant": "\U0001f418",
    "frog": "\U0001f438",
    "car": "\U0001f697",
    "bus": "\U0001f68c",
    "rocket": "\U0001f680",
    "sailboat": "\u26f5",
    "apple": "\U0001f34e",
    "pizza": "\U0001f355",
    "mushroom": "\U0001f344",
    "cactus": "\U0001f335",
}
CLASSES: tuple[str, ...] = tuple(OBJECTS)


@cache
def _listed() -> dict[str, tuple[str, str]]:
    """Return the set and the character of every listed glyph, by name."""
    rows = [line.split("\t") for line in GLYPH_LIST.read_text().splitlines()]
    return {name: (of, chr(int(code, 16))) for code, of, name in rows}


def glyph_names(of: str) -> tuple[str, ...]:
    """Return the names of the glyphs of a set, `named`, `seen` or `held_out`, in the order of their code points.

    A glyph without a word has its Unicode name in lower case, such as `honeybee`.
    """
    return tuple(name for name, (set_, _) in _listed().items() if set_ == of)


def find_font() -> Path:
    """Return the path of the Noto Color Emoji font on this machine.

    Raises:
        FileNotFoundError: with the package to install, if none of the usual places has it.
    """
    for path in FONT_PATHS:
        if Path(path).is_file():
            return Path(path)
    raise FileNotFoundError(
        "The Noto Color Emoji font was not found in "
        + ", ".join(FONT_PATHS)
        + ". It is needed only to render new scenes (the shipped splits need no font). "
        "On Debian or Ubuntu: apt-get install fonts-noto-color-emoji"
    )


def draw_character(character: str) -> Image.Image:
    """Return an emoji, cropped to its ink and centred on a transparent square."""
    font = ImageFont.truetype(str(find_font()), FONT_SIZE)
    canvas = Image.new("RGBA", (160, 160), (0, 0, 0, 0))
    ImageDraw.Draw(canvas).text((12, 12), character, font=font, embedded_color=True)
    ink = canvas.crop(canvas.getbbox())
    side = max(ink.size)
    square = Image.new("RGBA", (side, side), (0, 0, 0, 0))
    square.paste(ink, ((side - ink.width) // 2, (side - ink.height) // 2))
    return square


@lru_cache(maxsize=2048)
def sprite(name: str) -> Image.Image:
    """Return the emoji of a glyph, cropped to its ink and centred on a transparent square."""
    return draw_character(OBJECTS[name] if name in OBJECTS else _listed()[name][1])
