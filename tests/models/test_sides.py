"""Sizes that are no squares, and those that a model cannot take: by its files as by its networks."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from augment.inputs.fit import Fit
from augment.models.config import ModelConfig
from augment.models.flux import Flux
from augment.models.interface import LatentDiffusion
from augment.models.load import load_model
from augment.models.sd3 import StableDiffusion3
from augment.models.sdxl import StableDiffusionXL
from augment.models.sides import SideLimits, side_limits
from augment.models.stable_diffusion import StableDiffusion
from tests.models.checks import check_edits
from tests.pipelines import flux, stable_diffusion, stable_diffusion_3, stable_diffusion_xl
from tests.variants import variants

FAMILIES: dict[str, tuple[Any, Any]] = {
    "stable diffusion": (lambda: stable_diffusion(timestep_spacing="trailing"), StableDiffusion),
    "sdxl": (lambda: stable_diffusion_xl(timestep_spacing="trailing"), StableDiffusionXL),
    "stable diffusion 3": (stable_diffusion_3, StableDiffusion3),
    "flux": (lambda: flux(guidance_embeds=False, use_dynamic_shifting=True), Flux),
}
EVERY_FAMILY = pytest.mark.parametrize("family", FAMILIES)


def model_of(family: str) -> LatentDiffusion:
    pipeline, wrap = FAMILIES[family]
    model: LatentDiffusion = wrap(pipeline(), model_id="toy", revision="")
    return model


@pytest.mark.parametrize(
    ("height", "width", "family"),
    variants(
        [(*size, family) for size in ((12, 24), (24, 12)) for family in FAMILIES],
        kept=[*((12, 24, family) for family in FAMILIES), (24, 12, "stable diffusion")],
    ),
)
def test_pictures_of_two_to_one_are_inverted_and_edited(height: int, width: int, family: str) -> None:
    check_edits(model_of(family), height, width)


@EVERY_FAMILY
def test_a_folder_says_what_its_model_takes(family: str, tmp_path: Path) -> None:
    pipeline, wrap = FAMILIES[family]
    made = pipeline()
    made.save_pretrained(tmp_path)
    model = wrap(made, model_id="toy", revision="")
    assert side_limits(ModelConfig(name=str(tmp_path))) == SideLimits(model.factor, model.largest_side)


def test_the_embedded_model_and_one_that_is_not_there() -> None:
    model = load_model(ModelConfig())
    assert side_limits(ModelConfig()) == SideLimits(model.factor, model.largest_side) == SideLimits(8)
    assert side_limits(ModelConfig(name="owner/not-downloaded")) is None


def test_stable_diffusion_3_knows_so_many_positions() -> None:
    model = model_of("stable diffusion 3")
    assert model.largest_side == 16 * 2 * 2
    assert model.latent_shape((16, 64)) == (8, 8, 32)
    with pytest.raises(ValueError, match="at most 64 pixels a side, got 16 x 68"):
        model.latent_shape((16, 68))
    z, t = torch.zeros(1, 8, 8, 34), torch.tensor([500.0])
    with pytest.raises(ValueError, match="cannot be greater"):  # diffusers' own words
        model.denoiser(model.embed(["a fox"]))(z, t)


@pytest.mark.parametrize(
    ("limits", "fit", "problem"),
    [
        (SideLimits(8), Fit("crop", 64), ""),
        (SideLimits(8), Fit("bucket", 64), ""),
        (SideLimits(16, 3072), Fit("bucket", 1024), ""),
        (SideLimits(16, 64), Fit("pad", 64), ""),
        (SideLimits(8), Fit("stretch", 4), "input.image_size 4 is not a multiple of 8, .*; take 8 or 8$"),
        (SideLimits(16), Fit("bucket", 64), "buckets with sides such as 40, .* take input.image_size 128 or more"),
        (SideLimits(16, 64), Fit("bucket", 128), "buckets of up to 256 pixels, .*; take 32 or less, or another"),
        (SideLimits(16, 64), Fit("crop", 128), "input.image_size 128 is too large, .*; take 64 or less$"),
    ],
)
def test_problems(limits: SideLimits, fit: Fit, problem: str) -> None:
    found = limits.problem(fit, "toy")
    assert re.search(problem, found) if problem else found == ""
