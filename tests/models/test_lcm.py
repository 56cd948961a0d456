"""Latent consistency models, through the Stable Diffusion family, against diffusers' own pipeline at toy size."""

from __future__ import annotations

import pytest
import torch

from augment.models.stable_diffusion import StableDiffusion
from tests.models.checks import (
    PROMPTS,
    check_edits,
    check_inverts,
    check_reloads,
    generate,
    noise,
    relative_error,
)
from tests.pipelines import latent_consistency, stable_diffusion


def wrap(pipeline):
    return StableDiffusion(pipeline, model_id="toy", revision="")


@pytest.mark.parametrize("guidance_scale", [1.0, 8.0])
@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("num_steps", [1, 4])
def test_sampling_equals_the_diffusers_pipeline(guidance_scale, prediction_type, num_steps):
    pipeline = latent_consistency(prediction_type)
    theirs = pipeline(
        PROMPTS,
        latents=noise(),
        num_inference_steps=num_steps,
        guidance_scale=guidance_scale,
        generator=torch.Generator().manual_seed(5),
        output_type="latent",
    ).images
    drawn = torch.Generator().manual_seed(5)
    added = [torch.randn(noise().shape, generator=drawn) for _ in range(num_steps)]
    ours = generate(wrap(pipeline), noise(), num_steps, guidance_scale, noise=added)
    assert relative_error(ours, theirs) <= 1e-5


def test_the_network_is_told_the_guidance_scale():
    model = wrap(latent_consistency())
    assert model.default_sampler == "lcm" and wrap(stable_diffusion()).default_sampler == "ddim"
    embeds, t = model.embed(PROMPTS), torch.full((2,), 500.0)
    weak, strong = (model.denoiser(embeds, w) for w in (1.0, 8.0))
    assert weak.evaluations == strong.evaluations == 1
    assert relative_error(weak(noise(), t), strong(noise(), t)) > 1e-3


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_saved_pipeline_loads_by_its_folder(dtype, tmp_path):
    check_reloads(latent_consistency(), StableDiffusion, tmp_path, dtype)


@pytest.mark.parametrize("num_steps", [2, 4])
def test_inverting_a_generated_picture_finds_noise_that_regenerates_it(num_steps):
    # In two steps |a| is 7.7: the error that float32 leaves in a residual is as many times larger.
    check_inverts(wrap(latent_consistency()), num_steps=num_steps, tolerance=2e-6)


def test_editing_reconstructs_with_the_source_prompt_only():
    check_edits(wrap(latent_consistency()))
