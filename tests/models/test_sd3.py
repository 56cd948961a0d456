"""Stable Diffusion 3 against diffusers' own pipeline, at toy size."""

from __future__ import annotations

import pytest
from diffusers import FlowMatchHeunDiscreteScheduler

from augment.diffusion import sample
from augment.errors import ModelError
from augment.models.sd3 import T5_TOKENS, StableDiffusion3
from tests.models.checks import (
    PROMPTS,
    check_edits,
    check_inverts,
    check_pictures,
    check_reloads,
    generate,
    noise,
    relative_error,
)
from tests.pipelines import stable_diffusion_3


def wrap(pipeline):
    return StableDiffusion3(pipeline, model_id="toy", revision="")


@pytest.mark.parametrize("guidance_scale", [1.0, 3.0])
@pytest.mark.parametrize(
    "settings",
    [{}, {"shift": 1.0}, {"use_dynamic_shifting": True}, {"shift_terminal": 0.1}, {"with_t5": False}],
    ids=["shift 3", "shift 1", "dynamic shift", "terminal", "without T5"],
)
def test_sampling_equals_the_diffusers_pipeline(settings, guidance_scale):
    pipeline = stable_diffusion_3(**settings)
    theirs = pipeline(
        PROMPTS, latents=noise(8), num_inference_steps=5, guidance_scale=guidance_scale, output_type="latent"
    ).images
    assert relative_error(generate(wrap(pipeline), noise(8), 5, guidance_scale), theirs) <= 1e-5


def test_pictures_equal_those_of_the_diffusers_pipeline():
    pipeline = stable_diffusion_3()
    check_pictures(pipeline, wrap(pipeline), noise(8), guidance_scale=2.0)


@pytest.mark.parametrize(("height", "width"), [(8, 12), (12, 12)])
@pytest.mark.parametrize("is_dynamic", [False, True], ids=["shift 3", "dynamic shift"])
def test_images_may_have_other_sizes_than_in_training(height, width, is_dynamic):
    settings = {"use_dynamic_shifting": is_dynamic, "base_image_seq_len": 16, "max_image_seq_len": 64}
    pipeline, start = stable_diffusion_3(**settings), noise(8, height=height, width=width)
    theirs = pipeline(
        PROMPTS,
        height=2 * height,
        width=2 * width,
        latents=start,
        num_inference_steps=4,
        guidance_scale=2.0,
        output_type="latent",
    ).images
    model = wrap(pipeline)
    assert relative_error(generate(model, start, 4, 2.0), theirs) <= 1e-5
    of_training_size = sample(model.denoiser(model.embed(PROMPTS), 2.0), start, model.schedule(4, "flow_euler"))
    assert (relative_error(of_training_size, theirs) > 1e-3) == is_dynamic


def test_each_text_encoder_is_listened_to():
    with_t5, without = (wrap(stable_diffusion_3(with_t5=t5)).embed(PROMPTS) for t5 in (True, False))
    clip_tokens = with_t5.tokens.shape[1] - T5_TOKENS
    assert clip_tokens == 16 and with_t5.tokens.shape[2] == 96
    for part in (with_t5.tokens[:, :16, :32], with_t5.tokens[:, :16, 32:80], with_t5.tokens[:, 16:], with_t5.pooled):
        assert relative_error(part[0], part[1]) > 0.1  # two prompts, two embeddings
    assert with_t5.tokens[:, :16, 80:].abs().max() == 0 and without.tokens[:, 16:].abs().max() == 0


def test_a_saved_pipeline_loads_by_its_folder(tmp_path):
    model = check_reloads(stable_diffusion_3(), StableDiffusion3, tmp_path)
    assert model.default_sampler == "flow_euler" and (model.image_size, model.factor) == (16, 4)


def test_half_precision_predicts_the_same_also_without_t5(tmp_path):
    model = check_reloads(stable_diffusion_3(with_t5=False), StableDiffusion3, tmp_path, dtype="bfloat16")
    assert model.t5 is None


def test_inverting_a_generated_picture_finds_noise_that_regenerates_it():
    check_inverts(wrap(stable_diffusion_3()), channels=8)


def test_editing_reconstructs_with_the_source_prompt_only():
    check_edits(wrap(stable_diffusion_3()))


def test_samplers_and_schedulers_of_other_kinds_are_refused():
    model = wrap(stable_diffusion_3())
    with pytest.raises(ValueError, match="'ddim' is not available for 'toy'; there are flow_euler"):
        model.schedule(4, "ddim")
    with pytest.raises(ValueError, match="num_steps must be at least 1, got 0"):
        model.schedule(0, "flow_euler")
    pipeline = stable_diffusion_3()
    pipeline.scheduler = FlowMatchHeunDiscreteScheduler()
    with pytest.raises(ModelError, match="FlowMatchHeunDiscreteScheduler is not supported"):
        wrap(pipeline)
