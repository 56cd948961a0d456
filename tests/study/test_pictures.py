"""The synthetic pictures: equal counts, the same prompts for every maker, their sources named, made once."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from augment.editing.config import EditConfig
from augment.errors import ConfigError
from augment.inputs.images import decode_image
from augment.inputs.readers import list_sources, read_bytes
from augment.inputs.tensors import to_images
from augment.models.clip import load_clip
from augment.models.config import ModelConfig
from augment.models.load import load_model
from augment.scoring.edit_scores import EditScorer
from augment.storage.tar import iter_tar
from augment.study import pictures as pictures_module
from augment.study.arms import ARMS, FLIPS_CROPS, MakerName, edit_config
from augment.study.config import ALL_ARMS
from augment.study.judges import label_judge
from augment.study.pictures import count_pictures, make_synthetic, synthetic_pictures
from augment.study.scored import SCORE, score_synthetic
from augment.study.tracks import TRACK_SPECS, StudyTrack, prompt_for, target_scenes, write_track
from augment.training.config import AugmentationConfig
from augment.types import Source
from tests.study.toy_study import toy_study

MAKERS: tuple[MakerName, ...] = ("round_trip", "image_to_image", "text_to_image", "ddim", "default", "oracle")


@pytest.fixture(scope="module")
def model() -> Any:
    return load_model(ModelConfig())


@pytest.fixture(scope="module")
def track(tmp_path_factory: pytest.TempPathFactory, emoji_font: Path) -> StudyTrack:
    return write_track("marks", toy_study(), tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def made(track: StudyTrack, model: Any) -> dict[MakerName, Path]:
    """The folder of each maker."""
    return {m: make_synthetic(track, m, toy_study(), lambda: model, track.folder.parents[1]) for m in MAKERS}


def test_every_arm_is_described_and_edits_have_the_settings_of_the_default_but_for_the_inversion() -> None:
    assert set(ARMS) == set(ALL_ARMS)
    assert [name for name, arm in ARMS.items() if arm.maker is None] == list(ALL_ARMS[:5])
    assert ARMS["default_trivial_augment"].maker == ARMS["default"].maker == "default"
    others = {name: arm for name, arm in ARMS.items() if arm.recipe.name != "mix" or arm.scored}
    assert len(others) == 7 and {arm.maker for arm in others.values()} == {"default"}
    for name, arm in others.items():
        assert arm.augmentation == (FLIPS_CROPS if name.endswith("_flips_crops") else AugmentationConfig()), name
    assert {arm.augmentation for arm in (ARMS["none"], ARMS["default"], ARMS["oracle"])} == {AugmentationConfig()}
    default = EditConfig(num_steps=7, strength=0.6, preserve="attention", self_replace_steps=1.0)
    plain = edit_config("default_plain", default)
    assert plain == EditConfig(num_steps=7, strength=0.6)
    assert edit_config("default", default) == edit_config("image_to_image", default) == default
    for maker, limit in (("ddim", 1), ("fixed_point", 2), ("rnri", 2), ("rnri_released", 2)):
        own = edit_config(maker, default)  # type: ignore[arg-type]
        assert (own.solver.name, own.warm_start, own.stop.max_steps, own.stop.tolerance) == (maker, "none", limit, 0)
        assert (own.preserve, own.self_replace_steps) == ("none", 0.0)
        same = {"num_steps", "strength", "guidance_scale", "sampler"}
        assert own.model_dump(include=same) == default.model_dump(include=same)


def test_a_batch_may_have_more_edits_of_some_pictures() -> None:
    sources = [Source(key, key, 1, 3, "owl", attributes={"background": "snow"}) for key in ("a", "b", "c")]
    scenes = [("meadow", "clear"), ("city", "fog"), ("desert", "night"), ("ocean", "clear")]
    wanted = pictures_module.Wanted(sources, [b""] * 3, torch.zeros(3, 3, 64, 64), scenes, [1, 2, 1])
    assert (wanted.owners, wanted.places) == ([0, 1, 1, 2], [0, 0, 1, 0])
    assert wanted.prompts == [prompt_for("owl", *scene) for scene in scenes]
    assert len(set(wanted.seeds)) == 4
    alone = pictures_module.Wanted(sources[1:2], [b""], torch.zeros(1, 3, 64, 64), scenes[1:3], [2])
    assert alone.seeds == wanted.seeds[1:3]  # whatever shares its batch


def test_every_maker_makes_as_many_pictures_with_the_labels_of_their_sources(
    track: StudyTrack, made: dict[MakerName, Path]
) -> None:
    train = {s.key: s for s in list_sources(track.tar("train"), "webdataset").sources}
    digests = {key: hashlib.sha256(read_bytes(s)).hexdigest() for key, s in train.items()}
    for maker, folder in made.items():
        sources = list_sources(folder / "shards", "webdataset").sources
        assert json.loads((folder / "manifest.json").read_text())["pictures"] == len(sources) == 2 * len(train) == 16
        assert sorted(s.label for s in sources) == sorted(2 * list(range(8)))
        if maker != "oracle":
            for s in sources:
                of = train[s.attributes["source_key"]]
                assert (s.label, s.class_name) == (of.label, of.class_name)
                assert s.attributes["source_sha256"] == digests[of.key]


def test_all_makers_with_prompts_have_the_same(track: StudyTrack, made: dict[MakerName, Path]) -> None:
    of_maker = {m: {s.key: s.caption for s in list_sources(made[m] / "shards", "webdataset").sources} for m in MAKERS}
    assert of_maker["ddim"] == of_maker["default"] == of_maker["text_to_image"] == of_maker["image_to_image"]
    for source in list_sources(track.tar("train"), "webdataset").sources:
        for i, scene in enumerate(target_scenes(TRACK_SPECS["marks"], source, 2)):
            assert of_maker["default"][f"{source.key}_{i}"] == prompt_for(source.class_name, *scene)
        assert of_maker["round_trip"][f"{source.key}_0"] == source.caption


def test_the_round_trip_is_the_source_again_and_the_others_differ(
    track: StudyTrack, made: dict[MakerName, Path]
) -> None:
    pictures = {maker: synthetic_pictures(folder)[0] for maker, folder in made.items()}
    assert torch.equal(pictures["round_trip"][0::2], pictures["round_trip"][1::2])
    for maker in ("image_to_image", "text_to_image", "ddim", "default"):
        assert float((pictures[maker][0::2] - pictures[maker][1::2]).abs().mean()) > 0.02
    assert float((pictures["ddim"] - pictures["default"]).abs().mean()) > 1e-4
    oracle = list_sources(made["oracle"] / "shards", "webdataset").sources
    rendered = list_sources(track.tar("oracle"), "webdataset").sources
    assert [read_bytes(s) for s in oracle] == [read_bytes(s) for s in rendered]


def test_a_kill_costs_the_batches_that_were_not_whole(
    track: StudyTrack, made: dict[MakerName, Path], model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "pictures" / "marks" / made["text_to_image"].name
    shutil.copytree(made["text_to_image"], folder)
    whole = {p.name: p.read_bytes() for p in (folder / "shards").iterdir()}
    assert sorted(whole) == ["train-000000.tar", "train-000001.tar"]
    calls, make = [], pictures_module._made
    monkeypatch.setattr(pictures_module, "_made", lambda *args: calls.append(args) or make(*args))

    def no_model() -> Any:
        raise AssertionError("nothing is made")

    assert make_synthetic(track, "text_to_image", toy_study(), no_model, tmp_path) == folder and not calls
    (folder / "manifest.json").unlink()
    (folder / "shards" / "train-000001.tar").unlink()
    assert make_synthetic(track, "text_to_image", toy_study(), lambda: model, tmp_path) == folder
    assert len(calls) == 1
    assert {p.name: p.read_bytes() for p in (folder / "shards").iterdir()} == whole
    assert (folder / "manifest.json").read_bytes() == (made["text_to_image"] / "manifest.json").read_bytes()


def test_scores_are_those_of_the_main_job_and_the_threshold_leaves_pictures_out(
    track: StudyTrack, made: dict[MakerName, Path]
) -> None:
    scored = records_of(score_synthetic(track, made["default"], toy_study(), keep_all=True))
    least = sorted(record[SCORE] for record in scored.values())[8]
    config = toy_study(min_label_probability=least)
    filtered = score_synthetic(track, made["default"], config, keep_all=False)
    kept, before = records_of(filtered), records_of(made["default"])
    assert {key: {n: v for n, v in r.items() if n != SCORE} for key, r in scored.items()} == before
    assert kept == {key: record for key, record in scored.items() if record[SCORE] >= least}
    assert 0 < len(kept) < len(scored) == 16
    with pytest.raises(ConfigError, match=r"min_label_probability: none of the marks pictures .* has 1; lower it"):
        score_synthetic(track, made["default"], toy_study(min_label_probability=1), keep_all=False)
    assert count_pictures(filtered) == len(kept)
    clip, words = load_clip(), {n: name.partition(" with a ")[0] for n, name in enumerate(TRACK_SPECS["marks"].classes)}
    scorer = EditScorer(clip, config.clip.label_templates, words)
    sources = list_sources(made["default"] / "shards", "webdataset").sources
    first = to_images(np.stack([np.asarray(decode_image(read_bytes(sources[0])))]))
    (score,) = scorer.score(first, first, owners=[0], labels=[sources[0].label], prompts=[sources[0].caption])
    assert scored[sources[0].key][SCORE] == pytest.approx(score[SCORE], abs=1e-5)


def records_of(folder: Path) -> dict[str, dict[str, Any]]:
    """The record of each picture of a folder."""
    tars = sorted((folder / "shards").glob("*.tar"))
    return {key: json.loads(files["json"]) for tar in tars for key, files in iter_tar(tar)}


def test_other_settings_have_another_folder(track: StudyTrack, made: dict[MakerName, Path]) -> None:
    names = {made["default"].name}
    for changes in ({"edits_per_image": 3}, {"editing": {"num_steps": 3}}, {"batch_size": 4}):
        settings = pictures_module._settings(track, "default", toy_study(**changes))
        names.add(hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest())
    assert len(names) == 4


def test_a_judge_is_trained_once_and_says_how_often_the_label_is_true(tmp_path: Path, emoji_font: Path) -> None:
    config = toy_study().judge
    judge = label_judge("marks", config, tmp_path)
    (folder,) = (tmp_path / "judges").iterdir()
    time = (folder / "model.safetensors").stat().st_mtime_ns
    again = label_judge("marks", config, tmp_path)
    assert (folder / "model.safetensors").stat().st_mtime_ns == time and again.of_renders == judge.of_renders
    images = torch.from_numpy(np.random.default_rng(0).uniform(-1, 1, (6, 3, 64, 64)).astype(np.float32))
    classes = TRACK_SPECS["marks"].classes
    seen = [classes[i] for i in judge.network.predict(images)["label"].tolist()]
    assert judge.label_true(images, seen).value == 1
    wrong = [classes[(classes.index(name) + 1) % len(classes)] for name in seen]
    assert judge.label_true(images, [*seen[:2], *wrong[2:]]).value == pytest.approx(2 / 6)
