"""Blending with the source's trajectory: exact answers, memory, and what is refused."""

from __future__ import annotations

import pytest
import torch

from augment.diffusion import sample
from augment.editing import EditConfig, Objects, edit
from augment.editing.inverted import full_schedule, invert_latents
from augment.editing.preserve.blend import Blend, share_of_steps, trajectory_bytes
from augment.editing.preserve.mask import on_latent_grid
from augment.inversion import Stop
from augment.models.stable_diffusion import StableDiffusion
from tests.models.checks import PROMPTS, pictures
from tests.pipelines import stable_diffusion

TARGETS = [["snow", "a picture of a fox on snow"], ["a fox"]]
CONFIG = EditConfig(num_steps=6, strength=0.9, guidance_scale=2.0, preserve="mask")


@pytest.fixture(scope="module")
def model() -> StableDiffusion:
    return StableDiffusion(stable_diffusion(), model_id="toy", revision="")


def edits(model, config, masks=None):
    return torch.cat(edit(model, pictures(), PROMPTS, TARGETS, config, objects=Objects(masks=masks)).edits)


def test_a_mask_of_zeros_changes_no_bit(model):
    plain = edits(model, CONFIG.model_copy(update={"preserve": "none"}))
    assert torch.equal(edits(model, CONFIG, torch.zeros(2, 1, 16, 16)), plain)
    assert not torch.allclose(edits(model, CONFIG, torch.ones(2, 1, 16, 16)), plain, atol=1e-2)


def test_a_mask_of_ones_to_the_end_is_the_source(model):
    config = CONFIG.model_copy(update={"preserve_until": 1.0, "stop": Stop(max_steps=60, tolerance=1e-6)})
    result = edit(model, pictures(), PROMPTS, TARGETS, config, objects=Objects(masks=torch.ones(2, 1, 16, 16)))
    for i, made in enumerate(result.edits):
        for one in made:
            torch.testing.assert_close(one, result.round_trip[i], rtol=0, atol=1e-5)
            torch.testing.assert_close(one, result.reconstruction[i], rtol=0, atol=1e-3)


def test_what_is_masked_is_the_trajectory_where_blending_ends_and_each_picture_has_its_own(model):
    full = full_schedule(model, CONFIG)
    schedule, latents = full.last_part(CONFIG.strength), model.encode(pictures())
    inversion = invert_latents(model, latents, model.embed(PROMPTS), (), CONFIG, full, trajectory_dtype=model.dtype)
    assert len(inversion.trajectory) == len(schedule) == 5
    assert torch.equal(inversion.trajectory[-1], latents)
    mask = torch.zeros(3, 1, 8, 8)
    mask[..., :4] = 1.0
    owners = torch.tensor([1, 0, 1])
    blend = Blend(mask, inversion.trajectory, owners, share_of_steps(5, 0.6))
    seen = []

    def watched(step, z):
        seen.append(blend(step, z))
        return seen[-1]

    denoiser = model.denoiser(model.embed(["snow", "a fox", "an owl"]), 2.0)
    end = sample(denoiser, inversion.latents[owners], schedule, after_step=watched)
    for step in range(3):
        source = inversion.trajectory[step][owners]
        assert torch.equal(seen[step][..., :4], source[..., :4])
        assert not torch.isclose(seen[step][..., 4:], source[..., 4:]).any(dim=1).all()
    assert torch.equal(seen[-1], end)
    assert not torch.isclose(seen[3][..., :4], inversion.trajectory[3][owners][..., :4], atol=1e-4).all()
    half = Blend(torch.full_like(mask, 0.25), inversion.trajectory, owners, 1)
    expected = 0.25 * inversion.trajectory[0][owners] + 0.75 * end
    torch.testing.assert_close(half(0, end), expected)
    assert half(1, end) is end


def test_the_trajectory_is_walked_by_sampling(model):
    config = CONFIG.model_copy(update={"stop": Stop(max_steps=60, tolerance=1e-6)})
    full = full_schedule(model, config)
    source = model.embed(PROMPTS)
    inversion = invert_latents(model, model.encode(pictures()), source, (), config, full, trajectory_dtype=model.dtype)
    seen = []

    def watched(step, z):
        seen.append(z)
        return z

    sample(model.denoiser(source), inversion.latents, full.last_part(config.strength), after_step=watched)
    torch.testing.assert_close(torch.stack(seen), torch.stack(inversion.trajectory), rtol=0, atol=1e-3)


@pytest.mark.parametrize(
    ("walked", "until", "blended"), [(7, 0.6, 4), (10, 0.6, 6), (5, 1.0, 5), (3, 0.1, 1), (1, 0.5, 1), (10, 0.3, 3)]
)
def test_the_share_of_the_steps_is_rounded_down_and_at_least_one(walked, until, blended):
    assert share_of_steps(walked, until) == blended


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_memory_of_a_trajectory_is_what_its_tensors_take(dtype):
    model = StableDiffusion(stable_diffusion().to(dtype), model_id="toy", revision="")
    latents, full = torch.zeros(2, 4, 8, 8), full_schedule(model, CONFIG)
    inversion = invert_latents(model, latents, model.embed(PROMPTS), (), CONFIG, full, trajectory_dtype=model.dtype)
    held = sum(t.numel() * t.element_size() for t in inversion.trajectory)
    assert held == trajectory_bytes(5, 2, (4, 8, 8), dtype)
    assert held == 5 * 2 * 256 * (4 if dtype == torch.float32 else 2)
    assert trajectory_bytes(50, 8, (4, 128, 128), torch.bfloat16) == 52_428_800


def test_nothing_is_kept_where_nothing_is_preserved(model):
    config = CONFIG.model_copy(update={"preserve": "none"})
    full = full_schedule(model, config)
    assert invert_latents(model, model.encode(pictures()), model.embed(PROMPTS), (), config, full).trajectory is None


def test_masks_in_pixels_become_their_mean_over_each_latent_position():
    masks = torch.zeros(1, 1, 4, 8)
    masks[0, 0, 0, 0] = 1.0
    masks[0, 0, :, 6:] = 0.5
    expected = torch.tensor([[0.25, 0, 0, 0.5], [0, 0, 0, 0.5]])
    assert torch.equal(on_latent_grid(masks, 2, 4)[0, 0], expected)


@pytest.mark.parametrize("wrong", [255.0, -0.1, torch.nan])
def test_masks_outside_their_range_are_refused(model, wrong):
    masks = torch.zeros(2, 1, 16, 16)
    masks[1, 0, 3, 3] = wrong
    with pytest.raises(ValueError, match=r"preserve: mask takes shares in 0\.\.1, got"):
        edits(model, CONFIG, masks)


@pytest.mark.parametrize("preserve", ["mask", "attention"])
def test_what_a_mode_needs_and_was_not_given_is_said(model, preserve):
    config = CONFIG.model_copy(update={"preserve": preserve})
    needed = "mask" if preserve == "mask" else "word for the object"
    with pytest.raises(ValueError, match=f"preserve: {preserve} needs one {needed} per image: 2 images, 0 were given"):
        edits(model, config)
    with pytest.raises(ValueError, match="2 images, 1 were given"):
        edit(model, pictures(), PROMPTS, TARGETS, config, objects=Objects(["fox"], torch.zeros(1, 1, 16, 16)))
