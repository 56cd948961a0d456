"""Every family knows the shape of its latents without encoding a picture."""

from __future__ import annotations

import pytest
import torch

from augment.models.config import ModelConfig
from augment.models.flux import Flux
from augment.models.load import load_model
from augment.models.sd3 import StableDiffusion3
from augment.models.sdxl import StableDiffusionXL
from augment.models.stable_diffusion import StableDiffusion
from tests.pipelines import flux, latent_consistency, stable_diffusion, stable_diffusion_3, stable_diffusion_xl

FAMILIES = {
    "stable diffusion": lambda: StableDiffusion(stable_diffusion(), model_id="toy", revision=""),
    "latent consistency": lambda: StableDiffusion(latent_consistency(), model_id="toy", revision=""),
    "sdxl": lambda: StableDiffusionXL(stable_diffusion_xl(), model_id="toy", revision=""),
    "stable diffusion 3": lambda: StableDiffusion3(stable_diffusion_3(), model_id="toy", revision=""),
    "flux": lambda: Flux(flux(guidance_embeds=True, use_dynamic_shifting=True), model_id="toy", revision=""),
    "embedded": lambda: load_model(ModelConfig(name="embedded")),
}
EVERY_FAMILY = pytest.mark.parametrize("family", FAMILIES)


def encoded(model, height, width):
    return tuple(model.encode(torch.zeros(1, 3, height, width)).shape[1:])


@EVERY_FAMILY
def test_it_is_the_shape_of_what_encoding_gives(family):
    model = FAMILIES[family]()
    size = model.image_size
    assert model.latent_shape() == model.latent_shape(size) == encoded(model, size, size)
    assert model.latent_shape(2 * size) == encoded(model, 2 * size, 2 * size)
    assert model.latent_shape((size, 2 * size)) == encoded(model, size, 2 * size)


@EVERY_FAMILY
@pytest.mark.parametrize("size", [17, (16, 18), 0])
def test_sizes_that_the_model_cannot_take_are_refused(family, size):
    model = FAMILIES[family]()
    if size == (16, 18) and model.factor == 2:
        assert model.latent_shape(size) == encoded(model, 16, 18)
        return
    with pytest.raises(
        ValueError, match=rf"takes images whose sides are multiples of {model.factor} pixels, got \d+ x \d+"
    ):
        model.latent_shape(size)


@pytest.mark.parametrize("family", ["stable diffusion 3", "flux"])
def test_flows_count_the_tokens_of_the_size_that_is_made(family):
    model = FAMILIES[family]()
    assert (model.image_tokens(), model.image_tokens(32), model.image_tokens((16, 24))) == (16, 64, 24)
    with pytest.raises(ValueError, match="multiples of 4 pixels, got 18 x 18"):
        model.schedule(4, "flow_euler", image_size=18)
