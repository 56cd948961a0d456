"""Edits of images of another size than the model was trained on: flow models shift their noise levels with it."""

from __future__ import annotations

import pytest
import torch

from augment.diffusion import sample, seeded_noise
from augment.editing import EditConfig, edit, image_to_image
from augment.editing.interpolate import generate, invert_images
from augment.models.flux import Flux
from tests.pipelines import flux

CONFIG = EditConfig(num_steps=4, strength=1.0, guidance_scale=1.0)
PROMPTS = ["a fox on snow"]
IMAGES = torch.linspace(-1, 1, 3 * 24 * 16).view(1, 3, 24, 16)


@pytest.fixture(scope="module")
def model() -> Flux:
    pipeline = flux(guidance_embeds=True, use_dynamic_shifting=True)
    pipeline.scheduler.register_to_config(base_image_seq_len=16, max_image_seq_len=64)
    return Flux(pipeline, model_id="toy", revision="")


def test_image_to_image_walks_the_schedule_of_the_edited_size(model: Flux) -> None:
    made = image_to_image(model, IMAGES, PROMPTS, [7], CONFIG)
    latents = model.encode(IMAGES)
    noise = seeded_noise(tuple(latents.shape[1:]), [7])

    def expected(size: tuple[int, int] | None) -> torch.Tensor:
        schedule = model.schedule(4, "flow_euler", image_size=size)
        start = schedule.start.signal * latents + schedule.start.noise * noise
        return model.decode(sample(model.denoiser(model.embed(PROMPTS), 1.0), start, schedule))

    torch.testing.assert_close(made, expected((24, 16)))
    assert (made - expected(None)).abs().max() > 1e-3  # the schedule of the training size is another one


def test_inversion_and_generation_walk_the_same_schedule(model: Flux) -> None:
    result = edit(model, IMAGES, PROMPTS, [PROMPTS], CONFIG)
    again = generate(model, invert_images(model, IMAGES, PROMPTS, CONFIG), PROMPTS, CONFIG, 1.0)
    torch.testing.assert_close(result.edits[0], again)
    torch.testing.assert_close(result.reconstruction, again)
