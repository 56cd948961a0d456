"""The shipped weights: they load with plain diffusers and transformers, fit their budget and reach their figures."""

from __future__ import annotations

import pytest
import torch
from diffusers import StableDiffusionPipeline

from augment.editing import EditConfig
from augment.evaluation import InversionMethod, measure_inversion, round_trip_psnr
from augment.models.clip import load_clip
from augment.models.config import WEIGHTS, ModelConfig, embedded_revision
from augment.models.load import load_model
from augment.tiny.evaluate import accuracy, clip_object_accuracy, evaluate_tiny, load_judge, load_split
from augment.tiny.world import CLASSES


@pytest.fixture(scope="module")
def model():
    return load_model(ModelConfig())


@pytest.fixture(scope="module")
def val():
    return load_split("val")


def test_weights_are_safetensors_within_their_budget():
    files = [p for p in WEIGHTS.rglob("*") if p.is_file()]
    assert not [p for p in files if p.suffix in (".bin", ".pt", ".pkl", ".ckpt")]
    assert sum(p.stat().st_size for p in files) <= 32 * 1024 * 1024


def test_revision_is_the_hash_of_the_weights(tmp_path):
    import shutil

    from augment.models.embedded import write_revision

    shutil.copytree(WEIGHTS, tmp_path / "weights")
    assert write_revision(tmp_path / "weights") == embedded_revision()


def test_the_pipeline_loads_and_draws_with_plain_diffusers():
    pipeline = StableDiffusionPipeline.from_pretrained(WEIGHTS / "pipeline", use_safetensors=True, safety_checker=None)
    pipeline.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(0)
    image = pipeline(
        "a picture of an apple on snow", num_inference_steps=10, guidance_scale=3.0, generator=generator
    ).images[0]
    assert image.size == (64, 64)
    judge = load_judge()
    pixels = torch.tensor(list(image.tobytes())).view(1, 64, 64, 3).permute(0, 3, 1, 2) / 127.5 - 1.0
    seen = judge.predict(pixels)
    assert judge.attributes["object"][int(seen["object"][0])] == "apple"


def test_autoencoder_round_trip(model, val):
    assert len(val.sources) == 320
    assert float(round_trip_psnr(model, val.images).mean()) >= 28.0


def test_clip_tells_objects_apart(val):
    assert clip_object_accuracy(load_clip(), val) >= 0.90


def test_the_judge_is_right_about_renders_it_has_not_seen(val):
    judge = load_judge()
    assert accuracy(judge, val.images, "object", val.attribute("object")) >= 0.97
    assert accuracy(judge, val.images, "background", val.attribute("background")) >= 0.97


def test_label_order_of_the_judge_is_that_of_the_shards(val):
    assert load_judge().attributes["object"] == CLASSES
    assert {s.label: s.class_name for s in val.sources} == dict(enumerate(CLASSES))


def test_secant_inversion_reaches_the_bound_and_beats_the_other_solvers(model, val):
    methods = [
        InversionMethod(solver={"name": name}, stop={"max_steps": 2})
        for name in ("ddim", "fixed_point", "rnri", "rnri_released")
    ]
    methods.append(InversionMethod(solver={"name": "rnri_secant"}, stop={"max_steps": 1, "first_max_steps": 8}))
    *others, secant = measure_inversion(model, val.images[:64], val.captions[:64], methods, num_steps=10)
    assert secant.gap <= 0.4
    assert secant.evaluations_per_step <= 2.6
    assert secant.psnr > max(row.psnr for row in others)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_quality_of_generation_and_edits(model, val):
    quality = evaluate_tiny(model, load_clip(), load_judge(), val, EditConfig(), EditConfig(num_steps=20, strength=1.0))
    assert quality.n == 320
    assert quality.object_accuracy >= 0.85
    assert quality.background_accuracy >= 0.90
    assert quality.edit_background_accuracy >= 0.95
    assert quality.edit_object_kept >= 0.90
