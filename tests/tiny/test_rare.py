"""Rare concepts: what the figures mean, by hand, and the job on a handful of scenes."""

from __future__ import annotations

import json

import pytest
import torch
from PIL import Image

from augment.config import load_config
from augment.errors import ConfigError
from augment.evaluation.rare_concepts import (
    RareConfig,
    _overall,
    run_rare_concepts,
    table_lines,
)
from augment.models.clip import load_clip
from augment.tiny import networks, rare
from augment.tiny.evaluate import Pictures, load_judge, load_split
from augment.tiny.packaged import WEIGHTS
from augment.tiny.stages import SceneCache
from augment.tiny.world import BACKGROUNDS, CLASSES
from tests.run.runs import ROOT

CONFIG = ROOT / "configs" / "interpolate" / "rare.yaml"


def test_every_so_many_th_scene_of_a_rare_class_is_kept():
    labels = torch.zeros(23, 5, dtype=torch.int64)
    labels[:, 0] = torch.tensor([0] * 10 + [1] * 8 + [2] * 5)
    cache = SceneCache(torch.arange(23, dtype=torch.uint8).reshape(23, 1, 1, 1), labels)
    kept = rare.long_tail(cache, [CLASSES[1], CLASSES[2]], 4)
    assert kept.images.flatten().tolist() == [*range(10), 10, 14, 18, 22]
    assert kept.labels[:, 0].bincount().tolist() == [10, 2, 2]
    assert rare.long_tail(cache, [CLASSES[0]], 99).labels[:, 0].bincount().tolist() == [1, 8, 5]


def test_mean_over_pairs_of_a_group_that_count():
    distances = torch.zeros(2, 3, 3)
    distances[0, 0, 1], distances[0, 0, 2], distances[0, 1, 2] = 1.0, 2.0, 6.0
    distances[1, 0, 1], distances[1, 0, 2], distances[1, 1, 2] = 4.0, 5.0, 100.0
    everything = torch.ones(2, 3, dtype=torch.bool)
    assert rare.mean_of_pairs(distances, everything) == pytest.approx(118 / 6)
    some = torch.tensor([[True, True, True], [True, True, False]])
    assert rare.mean_of_pairs(distances, some) == pytest.approx((1 + 2 + 6 + 4) / 4)
    assert rare.mean_of_pairs(distances, torch.tensor([[True, False, False], [False, False, True]])) is None


def test_forgetting_draws_the_class_words_anew_and_leaves_the_others():
    tokenizer = networks.load_pipeline(WEIGHTS / "pipeline", "cpu").tokenizer
    vectors = torch.full((len(tokenizer), 128), 7.0)
    rare.forget_class_words(vectors, tokenizer, seed=0)
    changed = (vectors != 7.0).any(dim=1)
    tokens = tokenizer.convert_ids_to_tokens(changed.nonzero().flatten().tolist())
    assert {token.removesuffix("</w>") for token in tokens} == {*CLASSES}
    assert float(vectors[changed].std()) == pytest.approx(0.02, rel=0.1)


@pytest.fixture(scope="module")
def foxes():
    pictures = load_split("val")
    places = [i for i, s in enumerate(pictures.sources) if s.class_name == "fox"]
    return Pictures(pictures.images[places], [pictures.sources[i] for i in places])


def test_scores_of_copies_and_of_others(foxes):
    judge, clip = load_judge(), load_clip()
    by_background = {s.attributes["background"]: i for i, s in enumerate(foxes.sources)}
    places = [by_background[b] for b in BACKGROUNDS]
    copies = foxes.images[places][:, None].expand(-1, 2, -1, -1, -1)
    scores = rare.score_pictures(copies, foxes, judge, clip)
    assert (scores.accuracy, scores.background_accuracy, scores.n) == (1.0, 1.0, 16)
    zeros = (scores.clip_diversity, scores.pixel_diversity, scores.right_clip_diversity, scores.right_pixel_diversity)
    assert zeros == pytest.approx((0, 0, 0, 0), abs=1e-5)
    assert (scores.clip_to_real, scores.pixel_to_real) == pytest.approx((0, 0), abs=1e-3)

    grey = torch.stack([torch.zeros(8, 3, 64, 64), torch.full((8, 3, 64, 64), 0.5)], dim=1)
    scores = rare.score_pictures(grey, foxes, judge, clip)
    assert scores.pixel_diversity == pytest.approx(0.5)
    assert scores.accuracy == 0.0 and scores.right_pixel_diversity is None
    nearest = (
        foxes.images.square().mean(dim=(1, 2, 3)).sqrt().min(),
        (foxes.images - 0.5).square().mean(dim=(1, 2, 3)).sqrt().min(),
    )
    assert scores.pixel_to_real == pytest.approx(float(sum(nearest)) / 2, rel=1e-3)


def test_overall_is_the_mean_of_the_classes():
    rows = [
        {"class": "fox", "method": "slerp", "accuracy": 0.2, "right_clip_diversity": None, "n": 50},
        {"class": "owl", "method": "slerp", "accuracy": 0.6, "right_clip_diversity": 0.3, "n": 50},
    ]
    found = _overall(rows)
    assert found["accuracy"] == pytest.approx(0.4)
    assert found["accuracy_error"] == pytest.approx((0.4 * 0.6 / 100) ** 0.5)
    assert (found["right_clip_diversity"], found["n"], found["method"]) == (0.3, 100, "slerp")


@pytest.mark.parametrize(
    ("override", "words"),
    [("rare=[foxx]", "'foxx' is no class"), ("rare=[]", "rare"), ("generation.strength=0.7", "strength must be 1")],
)
def test_a_config_that_cannot_be_used(override, words):
    with pytest.raises(ConfigError, match=words):
        load_config(CONFIG, RareConfig, [override])


def test_too_few_real_pictures_are_noticed_before_anything_is_rendered(tmp_path):
    config = load_config(CONFIG, RareConfig, [f"work_dir={tmp_path / 'work'}", "images_per_prompt=11"])
    with pytest.raises(ValueError, match=r"has 20 pictures of 'fish', but images_per_prompt 11 needs 22"):
        run_rare_concepts(config, tmp_path / "out")
    assert not (tmp_path / "work").exists()


@pytest.mark.usefixtures("emoji_font")
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_job_on_a_handful_of_scenes(tmp_path):
    small = [
        f"work_dir={tmp_path / 'work'}",
        "rare=[frog]",
        "rarity=2",
        "num_scenes=60",
        "training={steps: 2, batch_size: 4, learning_rate: 1.0e-3}",
        "images_per_prompt=2",
        "generation={num_steps: 1, strength: 1.0, guidance_scale: 1.0, stop: {max_steps: 1}}",
    ]
    config = load_config(CONFIG, RareConfig, small)
    report = run_rare_concepts(config, tmp_path / "out")
    assert json.loads((tmp_path / "out" / "report.json").read_text()) == report
    assert [(r["method"], r["n"]) for r in report["rows"]] == [(m, 16) for m in ("random", "inverted", "slerp", "lerp")]
    assert report["references"]["frequent classes, long-tailed model"]["n"] == 15 * 8
    assert 1 <= report["scenes"]["frog"] <= 8 and 30 < sum(report["scenes"].values()) < 60
    with Image.open(tmp_path / "out" / "rare_concepts.png") as grid:
        assert grid.size == (16 * 64, 5 * 64 + 8)
    assert len([line for line in table_lines(report) if "| slerp |" in line]) == 2
    # The second run resumes: same weights, same figures, no step taken.
    log = (tmp_path / "work" / "long_tailed.jsonl").read_text()
    assert run_rare_concepts(config, tmp_path / "again") == report
    assert (tmp_path / "work" / "long_tailed.jsonl").read_text() == log
