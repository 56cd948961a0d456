"""The small grammar of emoji world's captions.

Several wordings per scene ("a picture of a fox on snow at night", "a fox, snow, night"), so that the text encoder
meets a background and a condition in a phrase and as a bare word.
"""

from __future__ import annotations

import numpy as np

from augment.prompts.templates import with_article

BACKGROUND_PHRASES: dict[str, tuple[str, ...]] = {
    "meadow": ("in a meadow", "on a meadow"),
    "snow": ("on snow", "in the snow"),
    "desert": ("in a desert", "in the desert"),
    "ocean": ("on the ocean", "by the ocean"),
    "forest": ("in a forest", "in the forest"),
    "city": ("in a city", "in the city"),
    "mountains": ("in the mountains", "in front of mountains"),
    "wall": ("by a brick wall", "in front of a brick wall"),
}
BACKGROUND_WORDS: dict[str, str] = {name: name for name in BACKGROUND_PHRASES} | {"wall": "brick wall"}
CONDITION_PHRASES: dict[str, tuple[str, ...]] = {
    "clear": ("", "on a clear day"),
    "night": ("at night",),
    "fog": ("in fog", "in the fog"),
    "snowfall": ("in snowfall", "during snowfall"),
}
CONDITION_WORDS: dict[str, str] = {"clear": "clear", "night": "night", "fog": "fog", "snowfall": "snowfall"}
OPENINGS: tuple[str, ...] = ("a picture of", "a photo of", "")
ANYTHING: tuple[str, ...] = ("something", "a scene")  # for an object without a word


def caption(object: str | None, background: str, condition: str, rng: np.random.Generator) -> str:
    """Draw one wording of a scene from the grammar; without an object it names the scene only."""
    if rng.random() < 0.25:
        words = (_noun(object, rng), BACKGROUND_WORDS[background], CONDITION_WORDS[condition])
        return ", ".join(words)
    choices = (OPENINGS, BACKGROUND_PHRASES[background], CONDITION_PHRASES[condition])
    opening, place, weather = (options[int(rng.integers(len(options)))] for options in choices)
    return " ".join(part for part in (opening, _noun(object, rng), place, weather) if part)


def _noun(object: str | None, rng: np.random.Generator) -> str:
    return with_article(object) if object else ANYTHING[int(rng.integers(len(ANYTHING)))]


def canonical_caption(object: str | None, background: str, condition: str) -> str:
    """Return the one wording used where two captions are compared: `a picture of a fox on snow at night`.

    Without an object, `a picture of something on snow at night`.
    """
    noun = with_article(object) if object else ANYTHING[0]
    parts = ("a picture of", noun, BACKGROUND_PHRASES[background][0], CONDITION_PHRASES[condition][0])
    return " ".join(part for part in parts if part)


def vocabulary(objects: tuple[str, ...]) -> list[str]:
    """Return every word the grammar can produce, sorted; the tokenizer has one token for each."""
    phrases = [p for options in BACKGROUND_PHRASES.values() for p in options]
    phrases += [p for options in CONDITION_PHRASES.values() for p in options]
    phrases += [*BACKGROUND_WORDS.values(), *CONDITION_WORDS.values(), *OPENINGS, *ANYTHING, "a", "an", *objects, ","]
    return sorted({word for phrase in phrases for word in phrase.split()})
