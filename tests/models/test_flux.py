"""FLUX.1 against diffusers' own pipeline, at toy size."""

from __future__ import annotations

import pytest
import torch
from diffusers import FluxPipeline

from augment.diffusion import sample
from augment.models.flux import Flux, pack, unpack
from tests.models.checks import (
    PROMPTS,
    check_edits,
    check_inverts,
    check_reloads,
    generate,
    noise,
    relative_error,
)
from tests.pipelines import flux

KINDS = pytest.mark.parametrize("is_dev", [True, False], ids=["dev", "schnell"])


def toy(is_dev):
    return flux(guidance_embeds=is_dev, use_dynamic_shifting=is_dev)


def wrap(pipeline):
    return Flux(pipeline, model_id="toy", revision="")


def theirs(pipeline, start, is_dev, guidance_scale, num_steps, output_type="latent"):
    _, channels, height, width = start.shape
    guidance = {"guidance_scale": guidance_scale}
    if not is_dev:
        guidance = {"true_cfg_scale": guidance_scale, "negative_prompt": ["", ""]}
    made = pipeline(
        PROMPTS,
        height=2 * height,
        width=2 * width,
        latents=FluxPipeline._pack_latents(start, 2, channels, height, width),
        num_inference_steps=num_steps,
        output_type=output_type,
        **guidance,
    ).images
    if output_type != "latent":
        return made
    return FluxPipeline._unpack_latents(made, 2 * height, 2 * width, vae_scale_factor=2)


@KINDS
@pytest.mark.parametrize("guidance_scale", [1.0, 3.0])
def test_sampling_equals_the_diffusers_pipeline(is_dev, guidance_scale):
    pipeline = toy(is_dev)
    expected = theirs(pipeline, noise(8), is_dev, guidance_scale, 5)
    assert relative_error(generate(wrap(pipeline), noise(8), 5, guidance_scale), expected) <= 1e-5


def test_pictures_equal_those_of_the_diffusers_pipeline():
    pipeline = toy(True)
    expected, model = theirs(pipeline, noise(8), True, 2.0, 3, "pt"), wrap(pipeline)
    ours = model.decode(generate(model, noise(8), 3, 2.0))
    torch.testing.assert_close((ours + 1) / 2, expected, rtol=0, atol=1e-5)


@KINDS
@pytest.mark.parametrize(("height", "width"), [(8, 12), (12, 12)])
def test_images_may_have_other_sizes_than_in_training(height, width, is_dev):
    pipeline, start = toy(is_dev), noise(8, height=height, width=width)
    pipeline.scheduler.register_to_config(base_image_seq_len=16, max_image_seq_len=64)
    expected, model = theirs(pipeline, start, is_dev, 1.0, 4), wrap(pipeline)
    assert relative_error(generate(model, start, 4, 1.0), expected) <= 1e-5
    of_training_size = sample(model.denoiser(model.embed(PROMPTS), 1.0), start, model.schedule(4, "flow_euler"))
    assert (relative_error(of_training_size, expected) > 1e-3) == is_dev  # schnell has one shift for all sizes


def test_the_dev_models_are_told_the_guidance_scale():
    model = wrap(toy(True))
    assert model.denoiser(model.embed(PROMPTS), 3.0).evaluations == 1
    assert wrap(toy(False)).denoiser(model.embed(PROMPTS), 3.0).evaluations == 2
    assert relative_error(generate(model, noise(8), 4, 3.0), generate(model, noise(8), 4, 1.0)) > 1e-3


def test_packing_keeps_the_four_positions_of_a_patch_together():
    latents = noise(3, height=4, width=6)
    tokens = pack(latents)
    assert tokens.shape == (2, 6, 12)
    torch.testing.assert_close(tokens[0, 4].view(3, 2, 2), latents[0, :, 2:4, 2:4])
    torch.testing.assert_close(unpack(tokens, 4, 6), latents)


@KINDS
def test_a_saved_pipeline_loads_by_its_folder(is_dev, tmp_path):
    model = check_reloads(toy(is_dev), Flux, tmp_path)
    assert model.default_sampler == "flow_euler" and (model.image_size, model.factor) == (16, 4)


def test_half_precision_predicts_the_same(tmp_path):
    check_reloads(toy(True), Flux, tmp_path, dtype="bfloat16")


def test_inverting_a_generated_picture_finds_noise_that_regenerates_it():
    check_inverts(wrap(toy(True)), channels=8, num_steps=4)


@KINDS
def test_editing_reconstructs_with_the_source_prompt_only(is_dev):
    check_edits(wrap(toy(is_dev)))
