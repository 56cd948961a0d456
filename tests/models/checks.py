"""What every model family is tested for: save and load, inversion, editing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from augment.diffusion import Schedule, sample, step_noise
from augment.editing import EditConfig, edit
from augment.inversion import (
    Anderson,
    Status,
    Stop,
    invert,
)
from augment.models.config import ModelConfig
from augment.models.interface import LatentDiffusion
from augment.models.load import load_model

PROMPTS = ["a picture of a fox", "an owl"]


def noise(channels: int = 4, height: int = 8, width: int = 8) -> Tensor:
    return torch.randn(2, channels, height, width, generator=torch.Generator().manual_seed(3))


def relative_error(ours: Tensor, theirs: Tensor) -> float:
    return float(torch.linalg.vector_norm(ours - theirs) / torch.linalg.vector_norm(theirs))


def diffusers_schedule(model: Any, num_steps: int, start: Tensor) -> Schedule:
    """The table of the pipeline's own loop: DDIM with its gaps, and flows shifted for the size that is made."""
    if model.default_sampler == "ddim":
        return model.noise_schedule.table(num_steps, "ddim", joints="diffusers")
    height, width = (side * model.latent_factor for side in start.shape[2:])
    return model.schedule(num_steps, model.default_sampler, image_size=(height, width))


def generate(model: LatentDiffusion, start: Tensor, num_steps: int, guidance_scale: float, **arguments: Any) -> Tensor:
    denoiser = model.denoiser(model.embed(PROMPTS), guidance_scale)
    return sample(denoiser, start, diffusers_schedule(model, num_steps, start), **arguments)


def check_reloads(pipeline: Any, family: type, folder: Path, dtype: str = "float32") -> LatentDiffusion:
    """A saved pipeline loads by its folder and predicts what it did before."""
    pipeline.save_pretrained(folder)
    before = family(pipeline, model_id="toy", revision="")
    after = load_model(ModelConfig(name=str(folder), dtype=dtype))
    assert isinstance(after, family) and after.model_id == str(folder) and after.revision
    assert (after.image_size, after.factor) == (before.image_size, before.factor)
    z, t = noise(pipeline.vae.config.latent_channels), torch.tensor([900.0, 300.0])
    tolerance = 1e-5 if dtype == "float32" else 0.05
    predictions = [m.denoiser(m.embed(PROMPTS), 2.0)(z, t) for m in (after, before)]
    assert all(p.dtype == torch.float32 for p in predictions)
    assert relative_error(*predictions) <= tolerance
    assert relative_error(after.decode(after.encode(pictures())), before.decode(before.encode(pictures()))) <= tolerance
    return after


def check_pictures(pipeline: Any, model: LatentDiffusion, start: Tensor, **arguments: Any) -> None:
    """Decoded pictures are those of the pipeline, and encoding is the inverse of its scaling."""
    theirs = pipeline(PROMPTS, latents=start, num_inference_steps=3, output_type="pt", **arguments).images
    ours = model.decode(generate(model, start, 3, arguments["guidance_scale"]))
    torch.testing.assert_close((ours + 1) / 2, theirs, rtol=0, atol=1e-5)
    with torch.no_grad():
        mode = pipeline.vae.encode(pictures()).latent_dist.mode()
    config = pipeline.vae.config
    expected = (mode - (config.shift_factor or 0.0)) * config.scaling_factor
    torch.testing.assert_close(model.encode(pictures()), expected)


def check_inverts(model: LatentDiffusion, channels: int = 4, num_steps: int = 6, tolerance: float = 1e-6) -> None:
    """Inverting a generated picture finds noise that regenerates it."""
    denoiser = model.denoiser(model.embed(PROMPTS))
    schedule = model.schedule(num_steps, model.default_sampler)
    steps = step_noise(schedule, noise(channels), [1, 2])
    clean = sample(denoiser, noise(channels), schedule, noise=steps)
    stop = Stop(max_steps=30, tolerance=tolerance)
    inversion = invert(denoiser, clean, schedule, Anderson(), stop, noise=steps)
    assert inversion.status.tolist() == [Status.CONVERGED] * 2
    assert inversion.error.max() <= tolerance
    assert inversion.residual.max() <= tolerance
    again = sample(denoiser, inversion.latents, schedule, noise=inversion.noise)
    assert relative_error(again, clean) <= 1e-3
    if steps is None:  # a sampler without noise has but one start for a picture
        assert relative_error(inversion.latents, noise(channels)) <= 1e-3


def check_edits(model: LatentDiffusion, height: int = 16, width: int = 16) -> None:
    """Editing with the source prompt reconstructs; another prompt changes the picture."""
    images = pictures(height, width)
    targets = [[PROMPTS[0], "snow"], ["a fox"]]
    config = EditConfig(
        sampler=model.default_sampler,
        num_steps=4,
        strength=0.5,  # random networks know no pictures: at higher noise they are no contraction there
        guidance_scale=1.5,
        inversion_guidance_scale=1.5,
        solver={"name": "anderson"},
        stop={"max_steps": 40, "tolerance": 1e-5},
    )
    result = edit(model, images, PROMPTS, targets, config, seeds=[1, 2])
    assert [tuple(e.shape) for e in result.edits] == [(2, 3, height, width), (1, 3, height, width)]
    assert all(e.isfinite().all() and e.abs().max() <= 1.0 for e in result.edits)
    assert result.status == ["converged"] * 2
    round_trip = model.decode(model.encode(images))
    torch.testing.assert_close(result.round_trip, round_trip)
    torch.testing.assert_close(result.reconstruction, round_trip, rtol=0, atol=1e-3)
    torch.testing.assert_close(result.edits[0][0], round_trip[0], rtol=0, atol=1e-3)
    assert (result.edits[0][1] - round_trip[0]).abs().max() > 1e-2
    assert (result.edits[1][0] - round_trip[1]).abs().max() > 1e-2


def pictures(height: int = 16, width: int = 16) -> Tensor:
    return torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(0)) * 2 - 1
