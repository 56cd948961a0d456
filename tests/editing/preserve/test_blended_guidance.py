"""Blended guidance: the scale of each position, against predictions combined by hand; who is told one scale."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from augment.diffusion import guided
from augment.diffusion.sampler import batch_timesteps
from augment.editing import EditConfig, Objects, edit
from augment.editing.inverted import checked_schedule, full_schedule, invert_latents
from augment.editing.preserve.blended_guidance import guidance_scales
from augment.editing.preserve.mask import on_latent_grid
from augment.errors import ModelError
from augment.inversion import Stop
from augment.models.flux import Flux
from augment.models.stable_diffusion import StableDiffusion
from tests.models.checks import pictures
from tests.pipelines import flux, latent_consistency, stable_diffusion

PROMPTS, TARGETS = ["a picture of a fox", "an owl"], [["a picture of a fox on snow", "snow"], ["a fox of an owl"]]
OWNERS = [0, 0, 1]
MASKS = torch.rand(2, 1, 16, 24, generator=torch.Generator().manual_seed(1))


def flux_dev():
    return flux(guidance_embeds=True, use_dynamic_shifting=True)


def config(**changes):
    values = {"num_steps": 4, "strength": 0.75, "guidance_scale": 3.0, "preserve": "mask", "preserve_until": 1e-9}
    return EditConfig(**(values | {"stop": Stop(max_steps=2, tolerance=0.0)} | changes))


def test_scales_are_mixed_by_the_mask():
    masks = torch.tensor([0.0, 0.25, 1.0]).view(1, 1, 1, 3)
    assert guidance_scales(config(object_guidance_scale=1.0), masks).flatten().tolist() == [3.0, 2.5, 1.0]
    assert guidance_scales(config(), masks) == 3.0
    assert guidance_scales(config(object_guidance_scale=1.0), None) == 3.0


def test_each_position_has_its_own_scale_whatever_rows_are_selected():
    def predict(z, t, condition):
        return z * condition.view(-1, 1, 1, 1)

    scales = torch.arange(12.0).view(3, 1, 2, 2)
    denoiser = guided(predict, (torch.tensor([2.0, 3.0, 4.0]),), (torch.ones(3),), scales)
    z = torch.randn(3, 5, 2, 2, generator=torch.Generator().manual_seed(0))
    expected = z * (1 + scales * torch.tensor([1.0, 2.0, 3.0]).view(3, 1, 1, 1))
    torch.testing.assert_close(denoiser(z, torch.zeros(3)), expected)
    torch.testing.assert_close(denoiser.select(torch.tensor([2, 0]))(z[[2, 0]], torch.zeros(2)), expected[[2, 0]])
    assert denoiser.evaluations == 2


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_edits_are_those_of_predictions_mixed_by_hand(scale):
    """Guidance of 1 outside asks for two predictions all the same, because the object has another."""
    settings = config(guidance_scale=scale, object_guidance_scale=5.0)
    model = StableDiffusion(stable_diffusion(), model_id="toy", revision="")
    found = edit(model, pictures(), PROMPTS, TARGETS, settings, objects=Objects(masks=MASKS))
    full = full_schedule(model, settings, (16, 24))
    schedule = full.last_part(settings.strength)
    inversion = invert_latents(
        model, model.encode(pictures()), model.embed(PROMPTS), [], settings, full, trajectory_dtype=torch.float32
    )
    masks = on_latent_grid(MASKS, *inversion.latents.shape[2:])[OWNERS]
    with_prompt = model.denoiser(model.embed([prompt for prompts in TARGETS for prompt in prompts]))
    without = model.denoiser(model.embed(["", "", ""]))
    z = inversion.latents[OWNERS]
    for i, step in enumerate(schedule.steps):
        t = batch_timesteps(step.timestep, z)
        eps, empty = with_prompt(z, t), without(z, t)
        inside, outside = (empty + w * (eps - empty) for w in (5.0, scale))
        z = step.apply(z, masks * inside + (1 - masks) * outside, None)
        if i == 0:  # one step is blended whatever the share is
            z = masks * inversion.trajectory[0][OWNERS] + (1 - masks) * z
    torch.testing.assert_close(torch.cat(found.edits), model.decode(z), atol=2e-4, rtol=0)


@pytest.mark.parametrize("replaced", [0.0, 1.0])
def test_one_scale_for_both_is_plain_guidance_and_a_batch_changes_nothing(replaced):
    model = StableDiffusion(stable_diffusion(), model_id="toy", revision="")
    model.rows = 2

    def edits(index, **changes):
        return edit(
            model,
            pictures()[index],
            [PROMPTS[i] for i in index],
            [TARGETS[i] for i in index],
            config(self_replace_steps=replaced, **changes),
            objects=Objects(masks=MASKS[index]),
        ).edits

    plain, same = edits([0, 1]), edits([0, 1], object_guidance_scale=3.0)
    torch.testing.assert_close(torch.cat(same), torch.cat(plain), atol=1e-4, rtol=0)
    two = edits([0, 1], object_guidance_scale=1.0)
    assert (torch.cat(two) - torch.cat(plain)).abs().amax(dim=(1, 2, 3)).min() > 1e-4
    assert torch.equal(edits([1], object_guidance_scale=1.0)[0], two[1])


@pytest.mark.parametrize(("family", "pipeline"), [(StableDiffusion, latent_consistency), (Flux, flux_dev)])
def test_a_model_that_is_told_its_guidance_refuses_two(family, pipeline):
    model = family(pipeline(), model_id="toy", revision="")
    with pytest.raises(ModelError, match=r"editing\.object_guidance_scale 2: 'toy' is told one guidance scale"):
        checked_schedule(model, config(object_guidance_scale=2.0), "editing")
    with pytest.raises(ValueError, match=r"told one guidance scale for the whole picture"):
        model.denoiser(model.embed(["a fox"]), torch.ones(1, 1, 8, 8))


def test_without_a_mask_it_is_refused_and_unused_it_is_in_no_id():
    with pytest.raises(ValidationError, match=r"object_guidance_scale: no mask says where the object is"):
        EditConfig(object_guidance_scale=1.0)
    assert "object_guidance_scale" not in config().identity()
    assert config(object_guidance_scale=1.5).identity()["object_guidance_scale"] == 1.5
