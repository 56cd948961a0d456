"""List the glyphs of emoji world, augment/tiny/glyphs.tsv, from the Noto Color Emoji font.

    python -m jobs.list_glyphs FILE

The rule: every character of the font that Unicode 14 names, in the blocks of pictographs, without those that are signs
or writing (`LEFT_OUT`), and without one that is called as a named object is. The 16 objects with a word are `named`.
Of the rest, a glyph is `held_out` if its hash says so and no other glyph looks nearly like it (the smileys and the
medals do), or if it is one of `ALWAYS_HELD_OUT`. All others are `seen`.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import unicodedata
from pathlib import Path

import numpy as np
from fontTools.ttLib import TTFont
from PIL import Image, ImageOps

from augment.tiny.glyphs import CLASSES, OBJECTS, draw_character, find_font

BLOCKS = ((0x231A, 0x231B), (0x23F0, 0x23F3), (0x2600, 0x27BF), (0x1F300, 0x1FAFF))
LEFT_OUT = re.compile(
    r"SYMBOL|\bSIGN\b|ARROWS|RIGHTWARDS|DOWNWARDS|LEFTWARDS|UPWARDS|CLOCK FACE|CIRCLE\b|TRIANGLE|LETTERS|KEYCAP|LOOP"
    r"|SQUARE\b|NUMBERS|\bHEARTS?$|MODIFIER|COMPONENT|BUTTON$|FLAG|DIAMOND|SPEECH|THOUGHT|ANGER BUBBLE|STROKE|HUNDRED"
    r"|CHART|MODE$|MARK\b|ORNAMENT|^NO |^NON-|NO MOBILE|CONTROL|CUSTOMS|CLAIM|LEFT LUGGAGE|RESTROOM|CROSSING|CLOSET"
    r"|CROSS$|STAR OF|POINTING|SIX POINTED|WITH MIDDLE DOT|DO NOT|LITTER|SUIT|HEAVY|EIGHT|SPARKLE$|NO GOOD|NO ENTRY"
    r"|BALLOT BOX WITH CHECK|CRESCENT$|YIN YANG|WHEEL OF|FLEUR|STAFF OF|POLE AND FISH|BANKNOTE WITH [YEP]"
)
ZODIAC = (*range(0x2648, 0x2654), 0x26CE)
ALWAYS_HELD_OUT = {"giraffe face", "octopus", "banana", "guitar", "bicycle", "honeybee", "doughnut", "sunflower"}
HELD_OUT_SHARE = 0.22
NEARLY_EQUAL = 0.16  # root mean square difference of brightness and coverage at 32x32 pixels, in 0..1


def pictographs() -> list[str]:
    """Return the characters of the font that show a thing, in the order of their code points."""
    found = []
    for code in sorted(TTFont(find_font()).getBestCmap()):
        character = chr(code)
        name = unicodedata.name(character, "")
        named = character in OBJECTS.values()
        picture = any(first <= code <= last for first, last in BLOCKS) and code not in ZODIAC
        if named or (picture and name and not LEFT_OUT.search(name) and name.lower() not in CLASSES):
            found.append(character)
    return found


def nearest_distances(characters: list[str]) -> np.ndarray:
    """Return how far each glyph is from the one that looks most like it, mirrored or not, in the unit 0..1."""
    straight, mirrored = (
        np.stack([_features(image) for image in images])
        for images in (
            [draw_character(c) for c in characters],
            [ImageOps.mirror(draw_character(c)) for c in characters],
        )
    )
    squares = (straight**2).sum(axis=1)
    distances = [np.maximum(squares[:, None] + squares[None] - 2 * straight @ o.T, 0) for o in (straight, mirrored)]
    nearest = np.sqrt(np.minimum(*distances))
    np.fill_diagonal(nearest, np.inf)
    return nearest.min(axis=1)


def _features(image: Image.Image) -> np.ndarray:
    pixels = np.asarray(image.resize((32, 32), Image.Resampling.BOX), np.float32) / 255
    alpha = pixels[..., 3]
    grey = (pixels[..., :3] @ np.array([0.30, 0.59, 0.11], np.float32)) * alpha + 0.5 * (1 - alpha)
    features = np.stack([grey, alpha])
    return features.ravel() / np.sqrt(features.size)


def rows() -> list[str]:
    """Return the lines of the list: code point, set and name, separated by tabs."""
    words = {character: word for word, character in OBJECTS.items()}
    characters = pictographs()
    lines = []
    for character, distance in zip(characters, nearest_distances(characters), strict=True):
        name = unicodedata.name(character).lower()
        drawn = int.from_bytes(hashlib.sha256(character.encode()).digest()[:8], "big") < HELD_OUT_SHARE * 2**64
        alone = distance >= NEARLY_EQUAL
        of = "named" if character in words else "held_out" if name in ALWAYS_HELD_OUT or (drawn and alone) else "seen"
        lines.append(f"{ord(character):x}\t{of}\t{words.get(character, name)}")
    return lines


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description="List the glyphs of emoji world.")
    parser.add_argument("file", type=Path, help="where the list goes; the shipped one is augment/tiny/glyphs.tsv")
    file = parser.parse_args().file
    lines = rows()
    file.write_text("\n".join(lines) + "\n")
    print(f"{file}  {len(lines)} glyphs, {sum('held_out' in line for line in lines)} held out")


if __name__ == "__main__":
    main()
