"""The truth of scenes, and the network that reads them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from augment.evaluation.instance_scores import differences
from augment.tiny.captions import canonical_caption
from augment.tiny.instance import InstanceReader, has_sides, train_reader, training_scene, true_instances
from augment.tiny.instance_tracks import TRACKS, make_track
from augment.tiny.sampling import sample_training_scene
from augment.tiny.wide_splits import UNKNOWN_CLASSES
from augment.tiny.world import companion_mask, object_mask, sample_scene

pytestmark = pytest.mark.usefixtures("emoji_font")


def test_the_mask_lies_at_the_objects_place() -> None:
    scene = replace(sample_scene(np.random.default_rng(0), object="apple"), x=20.0, y=40.0, size=24.0, angle=0.0)
    mask = object_mask(scene)
    rows, columns = np.nonzero(mask > 0.5)
    assert (columns.mean() + 0.5, rows.mean() + 0.5) == (pytest.approx(20, abs=1), pytest.approx(40, abs=2))
    assert 22 <= rows.max() - rows.min() + 1 <= 25
    truth = true_instances([scene])
    assert truth.place.tolist() == [[20.0, 40.0]] and truth.size.tolist() == [24.0]
    assert truth.mask.sum() == pytest.approx(mask.sum() / 4, rel=1e-5)


def test_the_second_object_is_what_the_first_leaves_visible() -> None:
    track = make_track("two", 4)
    for scene in track.sources:
        seen, inside = companion_mask(scene), object_mask(scene)
        assert seen.sum() > 30
        assert float((seen * (inside > 0.99)).max()) < 0.011
    assert not companion_mask(make_track("named", 1).sources[0]).any()


def test_sides_are_those_a_mirror_shows() -> None:
    assert has_sides("car") and has_sides("fish") and has_sides("snail")
    assert not has_sides("frog") and not has_sides("doughnut")


@pytest.mark.parametrize("name", TRACKS)
def test_only_what_is_asked_for_changes(name) -> None:  # type: ignore[no-untyped-def]
    track = make_track(name, 6)
    changed = "condition" if name == "condition" else "background"
    for source, target in zip(track.sources, track.targets, strict=True):
        assert getattr(source, changed) != getattr(target, changed)
        assert replace(target, **{changed: getattr(source, changed)}) == source
    assert torch.equal(track.images[:3], make_track(name, 3).images)
    named = [cls.split(" with ")[0] in prompt for cls, prompt in zip(track.classes, track.target_prompts, strict=True)]
    assert not any(named) if name == "unknown" else all(named)


def test_only_the_sources_of_one_track_have_captions_in_any_wording() -> None:
    worded, named = make_track("worded", 24), make_track("named", 24)
    canonical = [canonical_caption(s.object, s.background, s.condition) for s in worded.sources]
    assert sum(a == b for a, b in zip(worded.source_prompts, canonical, strict=True)) < 12
    assert any("," in prompt for prompt in worded.source_prompts)
    assert all(s.object in prompt for s, prompt in zip(worded.sources, worded.source_prompts, strict=True))
    for track in (worded, named):
        assert track.target_prompts == [canonical_caption(s.object, s.background, s.condition) for s in track.targets]
    assert worded.source_prompts[:3] == make_track("worded", 3).source_prompts


def test_tracks_share_no_scene() -> None:
    scenes = [scene.texture_seed for name in TRACKS for scene in make_track(name, 6).sources]
    assert len(set(scenes)) == len(scenes)


def test_a_reader_learns_what_held_out_objects_look_like_and_the_model_does_not() -> None:
    drawn = {training_scene(np.random.default_rng(i)).object for i in range(400)}
    assert set(UNKNOWN_CLASSES) <= drawn
    assert not set(UNKNOWN_CLASSES) & {sample_training_scene(np.random.default_rng(i)).object for i in range(400)}


def test_a_reader_comes_back_from_its_file(tmp_path: Path) -> None:
    reader = train_reader(steps=2, batch_size=4, count=8)
    reader.save(tmp_path / "reader.safetensors")
    images = make_track("named", 3).images
    before, after = reader.read(images), InstanceReader.load(tmp_path / "reader.safetensors").read(images)
    assert torch.equal(before.place, after.place) and torch.equal(before.mask, after.mask)
    assert before.mask.shape == (3, 32, 32)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_reader_reads_renders_it_has_not_seen() -> None:
    """After a twelfth of its training, places and outlines; sides come later. Nothing learnt would be 5 pixels."""
    reader = train_reader(steps=400, batch_size=32, count=2500)
    track = make_track("named", 64)
    found = differences(true_instances(track.sources), reader.read(track.images))
    assert found["displacement_px"].mean() < 2.0
    assert found["mask_iou"].mean() > 0.6
