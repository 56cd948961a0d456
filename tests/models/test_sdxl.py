"""SDXL against diffusers' own pipeline, at toy size."""

from __future__ import annotations

import pytest
import torch
from diffusers import EulerDiscreteScheduler

from augment.diffusion import sample
from augment.models.config import ModelConfig
from augment.models.load import load_model
from augment.models.sdxl import StableDiffusionXL
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
from tests.pipelines import stable_diffusion_xl


def wrap(pipeline):
    return StableDiffusionXL(pipeline, model_id="toy", revision="")


@pytest.mark.parametrize("guidance_scale", [1.0, 3.0])
@pytest.mark.parametrize("forces_zeros", [True, False])
@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_sampling_equals_the_diffusers_pipeline(guidance_scale, forces_zeros, prediction_type):
    pipeline = stable_diffusion_xl(force_zeros_for_empty_prompt=forces_zeros, prediction_type=prediction_type)
    theirs = pipeline(
        PROMPTS, latents=noise(), num_inference_steps=5, guidance_scale=guidance_scale, output_type="latent"
    ).images
    assert relative_error(generate(wrap(pipeline), noise(), 5, guidance_scale), theirs) <= 1e-5


def test_pictures_equal_those_of_the_diffusers_pipeline():
    pipeline = stable_diffusion_xl()
    check_pictures(pipeline, wrap(pipeline), noise(), guidance_scale=2.0)


def test_the_network_is_told_the_size_of_the_image_that_is_made():
    pipeline, start = stable_diffusion_xl(), noise(height=8, width=12)
    arguments = {"latents": start, "num_inference_steps": 4, "guidance_scale": 2.0, "output_type": "latent"}
    theirs = pipeline(PROMPTS, height=16, width=24, **arguments).images
    ours = generate(wrap(pipeline), start, 4, 2.0)
    assert relative_error(ours, theirs) <= 1e-5
    other_size = pipeline(PROMPTS, height=16, width=24, original_size=(24, 16), **arguments).images
    assert relative_error(ours, other_size) > 1e-4


def test_the_empty_prompt_is_zero_where_the_pipeline_says_so():
    zeros, encoded = (
        generate(wrap(stable_diffusion_xl(force_zeros_for_empty_prompt=z)), noise(), 4, 3.0) for z in (True, False)
    )
    assert relative_error(zeros, encoded) > 1e-3


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers' scheduler on NumPy 2
def test_a_turbo_model_samples_with_euler_as_its_pipeline_does():
    pipeline = stable_diffusion_xl(timestep_spacing="trailing")
    pipeline.scheduler = EulerDiscreteScheduler.from_config(pipeline.scheduler.config)
    theirs = pipeline(PROMPTS, latents=noise(), num_inference_steps=4, guidance_scale=1.0, output_type="latent").images
    model = wrap(pipeline)
    sigma = model.schedule(4, "euler").start.noise / model.schedule(4, "euler").start.signal
    start = noise() * sigma / (1 + sigma**2) ** 0.5  # diffusers starts at sigma * noise, in latents scaled by the root
    ours = sample(model.denoiser(model.embed(PROMPTS)), start, model.schedule(4, "euler"))
    assert relative_error(ours, theirs) <= 1e-5


@pytest.mark.parametrize("guidance_scale", [1.0, 4.0])
def test_a_latent_consistency_model_is_told_the_guidance_scale(guidance_scale):
    pipeline = stable_diffusion_xl(time_cond_proj_dim=16)
    theirs = pipeline(
        PROMPTS, latents=noise(), num_inference_steps=4, guidance_scale=guidance_scale, output_type="latent"
    ).images
    model = wrap(pipeline)
    assert model.default_sampler == "lcm"
    denoiser = model.denoiser(model.embed(PROMPTS), guidance_scale)
    assert denoiser.evaluations == 1
    schedule = model.noise_schedule.table(4, "ddim", joints="diffusers")
    assert relative_error(sample(denoiser, noise(), schedule), theirs) <= 1e-5


def test_a_saved_pipeline_loads_by_its_folder(tmp_path):
    model = check_reloads(stable_diffusion_xl(force_zeros_for_empty_prompt=False), StableDiffusionXL, tmp_path)
    assert model.default_sampler == "ddim" and (model.image_size, model.factor) == (16, 2)
    empty = model.denoiser(model.embed(PROMPTS), 2.0).conditions[2]
    assert empty.abs().max() > 0  # the pipeline's own setting was read


@pytest.mark.parametrize(("force_upcast", "dtype"), [(True, torch.float32), (False, torch.float16)])
def test_an_autoencoder_that_overflows_in_half_precision_runs_in_float32(force_upcast, dtype, tmp_path):
    pipeline = stable_diffusion_xl()
    pipeline.vae.register_to_config(force_upcast=force_upcast)
    pipeline.save_pretrained(tmp_path)
    model = load_model(ModelConfig(name=str(tmp_path), dtype="float16"))
    assert model.dtype == torch.float16 and model.vae.dtype == dtype
    latents = model.encode(torch.zeros(1, 3, 16, 16))
    assert latents.dtype == model.decode(latents).dtype == torch.float32


def test_half_precision_predicts_the_same(tmp_path):
    check_reloads(stable_diffusion_xl(), StableDiffusionXL, tmp_path, dtype="bfloat16")


def test_inverting_a_generated_picture_finds_noise_that_regenerates_it():
    check_inverts(wrap(stable_diffusion_xl(timestep_spacing="trailing")))


def test_editing_reconstructs_with_the_source_prompt_only():
    check_edits(wrap(stable_diffusion_xl(timestep_spacing="trailing")))
