"""The grammar: what it says is true of the scene, and the vocabulary has every word of it."""

from __future__ import annotations

from itertools import product

import numpy as np

from augment.prompts.templates import with_article
from augment.tiny.captions import (
    BACKGROUND_PHRASES,
    BACKGROUND_WORDS,
    CONDITION_PHRASES,
    CONDITION_WORDS,
    canonical_caption,
    caption,
    vocabulary,
)
from augment.tiny.world import BACKGROUNDS, CLASSES, CONDITIONS

SCENES = list(product(CLASSES, BACKGROUNDS, CONDITIONS))


def test_canonical_captions_by_example() -> None:
    assert canonical_caption("fox", "snow", "night") == "a picture of a fox on snow at night"
    assert canonical_caption("owl", "wall", "clear") == "a picture of an owl by a brick wall"


def test_captions_of_an_object_without_a_word_name_the_scene_only() -> None:
    assert canonical_caption(None, "snow", "night") == "a picture of something on snow at night"
    rng = np.random.default_rng(2)
    drawn = {caption(None, "snow", "night", rng) for _ in range(600)}
    things = ("something", "a scene")
    long = {
        f"{opening}{thing} {place} at night"
        for opening in ("a picture of ", "a photo of ", "")
        for thing in things
        for place in ("on snow", "in the snow")
    }
    assert drawn == long | {f"{thing}, snow, night" for thing in things}


def test_canonical_captions_tell_all_scenes_apart() -> None:
    assert len({canonical_caption(*scene) for scene in SCENES}) == len(SCENES) == 512


def test_the_grammar_covers_the_world() -> None:
    assert set(BACKGROUND_PHRASES) == set(BACKGROUND_WORDS) == set(BACKGROUNDS)
    assert set(CONDITION_PHRASES) == set(CONDITION_WORDS) == set(CONDITIONS)


def test_a_fox_on_snow_at_night_has_these_wordings_and_no_others() -> None:
    rng = np.random.default_rng(0)
    drawn = [caption("fox", "snow", "night", rng) for _ in range(400)]
    long = {
        f"{opening}a fox {place} at night"
        for opening in ("a picture of ", "a photo of ", "")
        for place in ("on snow", "in the snow")
    }
    assert set(drawn) == long | {"a fox, snow, night"}
    assert 60 <= drawn.count("a fox, snow, night") <= 140  # a quarter, five standard deviations either way


def test_captions_name_the_object_and_are_made_of_the_vocabulary() -> None:
    words = set(vocabulary(CLASSES))
    rng = np.random.default_rng(1)
    for scene in SCENES:
        text = caption(*scene, rng)
        assert with_article(scene[0]) in text
        assert set(text.replace(",", " ,").split()) <= words
        assert "  " not in text and text == text.strip()


def test_the_vocabulary_is_sorted_and_has_no_repeats() -> None:
    words = vocabulary(CLASSES)
    assert words == sorted(set(words))
    assert {"fox", "brick", ",", "a", "an", "picture", "something", "scene"} <= set(words)
