"""The list of glyphs: its split is fixed, agrees with the rule, and nothing that is held out is ever trained on."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from augment.storage.tar import sha256_file
from augment.tiny.glyphs import CLASSES, GLYPH_LIST, OBJECTS, glyph_names, sprite
from augment.tiny.sampling import sample_training_scene
from augment.tiny.stages import SAMPLERS, glyph_attributes
from augment.tiny.wide_splits import UNKNOWN_CLASSES
from augment.tiny.world import sample_scene
from jobs.list_glyphs import ALWAYS_HELD_OUT, rows
from tests.tiny.test_dataset import FONT_SHA256

HELD_OUT = set(glyph_names("held_out"))


def test_the_split_is_the_one_that_the_weights_were_trained_on() -> None:
    digest = hashlib.sha256("\n".join(sorted(HELD_OUT)).encode()).hexdigest()
    assert digest[:16] == "ae6b38d4795366dd"


def test_sizes_and_names() -> None:
    named, seen = glyph_names("named"), glyph_names("seen")
    assert sorted(named) == sorted(CLASSES)
    assert (len(seen), len(HELD_OUT)) == (819, 193)
    assert len({*named, *seen, *HELD_OUT}) == 16 + 819 + 193
    assert ALWAYS_HELD_OUT <= HELD_OUT and set(UNKNOWN_CLASSES) <= HELD_OUT
    assert not {"rocket", "fox face", "red apple"} & {*seen, *HELD_OUT}  # named glyphs are not listed twice


@pytest.mark.slow
def test_the_job_writes_the_shipped_list(emoji_font: Path) -> None:
    if sha256_file(emoji_font) != FONT_SHA256:
        pytest.skip("another version of the font")
    assert "\n".join(rows()) + "\n" == GLYPH_LIST.read_text()


def test_no_training_scene_shows_a_held_out_glyph() -> None:
    for name, sampler in SAMPLERS.items():
        scenes = [sampler(np.random.default_rng([3, i])) for i in range(1500)]
        shown = {s.object for s in scenes} | {s.companion.object for s in scenes if s.companion}
        assert not shown & HELD_OUT, name
        assert set(CLASSES) <= shown
    assert not set(glyph_attributes()["glyph"]) & HELD_OUT


def test_half_of_the_training_scenes_have_no_word_and_the_options_have_their_shares() -> None:
    scenes = [sample_training_scene(np.random.default_rng([4, i])) for i in range(1500)]
    for share, count in [
        (0.50, sum(s.object not in OBJECTS for s in scenes)),
        (0.25, sum(s.mark is not None for s in scenes)),
        (0.15, sum(s.tint is not None for s in scenes)),
        (0.15, sum(s.companion is not None for s in scenes)),
        (0.15, sum(s.size < 30 for s in scenes)),
    ]:
        assert abs(count - 1500 * share) < 5 * np.sqrt(1500 * share * (1 - share))


def test_the_scenes_of_the_shipped_splits_have_no_option_set() -> None:
    scene = sample_scene(np.random.default_rng(0))
    assert (scene.tint, scene.mark, scene.companion) == (None, None, None)


@pytest.mark.usefixtures("emoji_font")
def test_a_glyph_without_a_word_has_a_sprite() -> None:
    assert {sprite(name).mode for name in ("octopus", "honeybee", "watch")} == {"RGBA"}
    assert sprite("octopus").tobytes() != sprite("honeybee").tobytes()
