"""The tracks: exact counts, what is biased and what is balanced, and what prompts may name."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from augment.inputs.readers import list_sources
from augment.study.config import ALL_TRACKS, StudyConfig
from augment.study.tracks import (
    STUDY_SPLITS,
    TRACK_SPECS,
    prompt_for,
    study_scenes,
    target_scenes,
    word_of,
    write_track,
)
from augment.tiny.glyphs import glyph_names
from augment.tiny.world import BACKGROUNDS, CLASSES, CONDITIONS
from augment.types import Source


@pytest.mark.parametrize(("name", "at_home"), [("bias_80", 16), ("bias_95", 19), ("bias_100", 20), ("mixed", 19)])
def test_a_biased_class_has_its_exact_share_at_home(name: str, at_home: int) -> None:
    spec = TRACK_SPECS[name]
    scenes = list(study_scenes(name, "train", spec.per_class))
    assert len(scenes) == 20 * len(spec.classes)
    for label in range(len(spec.classes)):
        backgrounds = Counter(scene.background for at, scene in scenes if at == label)
        assert backgrounds[spec.home(label)] == at_home
        strays = {b: n for b, n in backgrounds.items() if b != spec.home(label)}
        assert sum(strays.values()) == 20 - at_home and set(strays.values()) <= {1}
        assert set(Counter(s.condition for at, s in scenes if at == label).values()) == {5}


def test_plain_and_marked_objects_are_at_home_on_different_backgrounds_where_both_are_biased() -> None:
    spec = TRACK_SPECS["mixed"]
    assert [spec.classes[i] for i in (0, 1)] == ["car", "car with a stripe"]
    assert spec.home(0) != spec.home(1)


@pytest.mark.parametrize("name", ["bias_95", "few_shot_5", "marks", "unknown", "mixed"])
@pytest.mark.parametrize("split", ["val", "test", "oracle"])
def test_what_is_looked_at_is_balanced(name: str, split: str) -> None:
    scenes = list(study_scenes(name, split, 32))
    pairs = Counter((label, scene.background, scene.condition) for label, scene in scenes)
    assert set(pairs.values()) == {1}
    assert len(pairs) == len(TRACK_SPECS[name].classes) * len(BACKGROUNDS) * len(CONDITIONS)


def test_unseen_scenes_are_in_no_prompt_and_no_picture_but_those_of_the_test_and_the_oracle() -> None:
    spec = TRACK_SPECS["unseen"]
    for split in ("train", "val"):
        scenes = [scene for _, scene in study_scenes("unseen", split, 8)]
        assert {s.background for s in scenes} == set(spec.backgrounds)
        assert {s.condition for s in scenes} == {"clear", "night"}
    test = [scene for _, scene in study_scenes("unseen", "test", 8)]
    assert {s.background for s in test} == set(BACKGROUNDS) - set(spec.backgrounds)
    assert {s.condition for s in test} == {"fog", "snowfall"}
    source = Source("a", "a", 1, 0, "fox", attributes={"background": spec.backgrounds[0]})
    named = target_scenes(spec, source, 20)
    assert {b for b, _ in named} == set(spec.backgrounds[1:]) and {c for _, c in named} == {"clear", "night"}


def test_targets_are_other_backgrounds_in_turn_and_the_key_decides() -> None:
    spec = TRACK_SPECS["bias_95"]
    drawn = set()
    for key in ("a", "b", "c", "d"):
        source = Source(key, key, 1, 0, "fox", attributes={"background": "snow"})
        targets = target_scenes(spec, source, 14)
        assert target_scenes(spec, source, 14) == targets and target_scenes(spec, source, 3) == targets[:3]
        assert [sorted(b for b, _ in targets[i : i + 7]) for i in (0, 7)] == [sorted(set(BACKGROUNDS) - {"snow"})] * 2
        assert len(set(targets)) == 14  # the second time in another condition
        drawn.add(tuple(targets))
    assert len(drawn) == 4


def test_every_fourth_class_is_rare_and_has_as_many_edits_of_all_its_pictures(tmp_path: Path, emoji_font: Path) -> None:
    scenes = list(study_scenes("rare", "train", 20))
    counts = Counter(label for label, _ in scenes)
    assert counts == {label: 4 if label % 4 == 3 else 20 for label in range(24)}
    on = Counter(scene.background for label, scene in scenes if label % 4 == 3)
    assert on == dict.fromkeys(BACKGROUNDS, 6 * 4 // 8)  # rare classes together stand on all of them
    assert set(Counter(s.condition for label, s in scenes if label % 4 == 3).values()) == {6}
    assert Counter(label for label, _ in study_scenes("rare", "test", 2)) == dict.fromkeys(range(24), 2)
    config = StudyConfig(train_per_class=5, val_per_class=1, test_per_class=1, edits_per_image=1)
    track = write_track("rare", config, tmp_path)
    assert track.counts["train"] == 18 * 5 + 6 * 1
    assert [track.edits_of(label, 3) for label in range(8)] == [3, 3, 3, 15] * 2
    known = {s.class_name: s.attributes["frequency"] for s in list_sources(track.tar("test"), "webdataset").sources}
    assert [name for name, frequency in known.items() if frequency == "rare"] == list(track.spec.classes[3::4])
    assert track.groups == ("background", "class", "frequency")


def test_prompts_have_a_word_for_the_object_or_none_and_never_one_for_the_mark() -> None:
    assert (word_of("fox"), word_of("car with a stripe"), word_of("octopus")) == ("fox", "car", None)
    assert prompt_for("car with a stripe", "snow", "night") == prompt_for("car", "snow", "night")
    assert prompt_for("octopus", "snow", "night") == "a picture of something on snow at night"


def test_objects_without_a_word_are_those_that_the_model_never_saw() -> None:
    held_out = set(glyph_names("held_out"))
    assert set(TRACK_SPECS["unknown"].classes) <= held_out and not held_out & set(CLASSES)


def test_no_two_splits_or_tracks_share_a_scene() -> None:
    scenes = [
        (scene.texture_seed, scene.x, scene.y)
        for name in ALL_TRACKS
        for split in STUDY_SPLITS
        for _, scene in study_scenes(name, split, 2)
    ]
    assert len(set(scenes)) == len(scenes)


def test_a_track_is_rendered_once(tmp_path: Path, emoji_font: Path) -> None:
    config = StudyConfig(train_per_class=1, val_per_class=1, test_per_class=2, edits_per_image=2)
    track = write_track("marks", config, tmp_path)
    assert track.counts == {"train": 8, "val": 8, "test": 16, "oracle": 16}
    digests = {split: track.tar(split).read_bytes() for split in STUDY_SPLITS}
    times = {split: track.tar(split).stat().st_mtime_ns for split in STUDY_SPLITS}
    sources = list_sources(track.tar("train"), "webdataset").sources
    assert [s.class_name for s in sources] == list(track.spec.classes)
    assert sources[1].caption == prompt_for("car", **{k: sources[1].attributes[k] for k in ("background", "condition")})
    assert write_track("marks", config, tmp_path) == track
    assert {split: track.tar(split).stat().st_mtime_ns for split in STUDY_SPLITS} == times
    other = write_track("marks", config, tmp_path / "other")
    assert {split: other.tar(split).read_bytes() for split in STUDY_SPLITS} == digests
    more = write_track("marks", config.model_copy(update={"test_per_class": 3}), tmp_path)
    assert more.folder != track.folder and more.counts["test"] == 24
    assert not np.array_equal(digests["val"], digests["test"])
