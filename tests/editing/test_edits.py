"""Edits with the embedded model: samplers that add noise, adjustment to the prompt, and images nobody wants."""

from __future__ import annotations

import pytest
import torch

from augment.diffusion import sample, step_noise
from augment.editing import EditConfig, edit, text_to_image
from augment.inversion import (
    SOLVERS,
    Anderson,
    Status,
    Stop,
    invert,
    make_solver,
)
from augment.models.config import ModelConfig
from augment.models.load import load_model
from augment.tiny.evaluate import load_split
from tests.variants import variants


@pytest.fixture(scope="module")
def model():
    return load_model(ModelConfig())


@pytest.fixture(scope="module")
def pictures():
    return load_split("val", limit=2)


@pytest.mark.parametrize("sampler", variants(("euler", "euler_ancestral", "lcm"), kept=["euler_ancestral"]))
def test_every_sampler_reconstructs_and_edits(model, pictures, sampler):
    config = EditConfig(sampler=sampler, num_steps=6, strength=1.0)
    prompts = [[], ["a picture of a fox in the city"]]
    result = edit(model, pictures.images, pictures.captions, prompts, config, seeds=[1, 2])
    assert [len(edits) for edits in result.edits] == [0, 1]
    for ours, bound in zip(result.psnr, result.vae_psnr, strict=True):
        assert ours == pytest.approx(bound, abs=1.5)


def test_edits_from_stored_noise_depend_on_the_seed_alone(model, pictures):
    config = EditConfig(sampler="euler_ancestral", num_steps=4, strength=0.75)
    prompts = [["a picture of a bus in the city"]] * 2

    def edits(index, seeds):
        images = pictures.images[index]
        captions = [pictures.captions[i] for i in index]
        return torch.cat(edit(model, images, captions, prompts[: len(index)], config, seeds=seeds).edits)

    together = edits([0, 1], [5, 6])
    torch.testing.assert_close(edits([1], [6]), together[1:], atol=1e-3, rtol=0)
    torch.testing.assert_close(edits([1, 0], [6, 5]), together[[1, 0]], atol=1e-3, rtol=0)
    assert (edits([1], [7]) - together[1:]).abs().max() > 0.05


def test_a_sampler_that_adds_noise_asks_for_seeds(model, pictures):
    config = EditConfig(sampler="lcm", num_steps=4)
    with pytest.raises(ValueError, match="2 images need one seed each, 0 were given"):
        edit(model, pictures.images, pictures.captions, [[]] * 2, config)


def test_matched_noise_makes_the_inverted_latents_look_like_noise(model):
    pictures = load_split("val", limit=8)
    schedule = model.schedule(4, "euler_ancestral")
    latents, denoiser = model.encode(pictures.images), model.denoiser(model.embed(pictures.captions))
    fresh = step_noise(schedule, latents, range(8))
    stop = Stop(max_steps=5, tolerance=0.0)

    def std(match_noise):
        inversion = invert(denoiser, latents, schedule, Anderson(), stop, noise=fresh, match_noise=match_noise)
        again = sample(denoiser, inversion.latents, schedule, noise=inversion.noise)
        assert (again - latents).norm() < 0.15 * latents.norm()
        return float(inversion.latents.std())

    assert std(match_noise=True) == pytest.approx(1.0, abs=0.1)
    assert std(match_noise=False) > 1.5


def test_adjustment_moves_the_latents_towards_the_prompt_and_away_from_the_image(model, pictures):
    plain = edit(model, pictures.images, pictures.captions, [[]] * 2, EditConfig())
    config = EditConfig(adjustment_strength=0.3)
    adjusted = edit(model, pictures.images, pictures.captions, [[]] * 2, config, seeds=[1, 2])
    assert adjusted.vae_psnr == plain.vae_psnr
    assert all(a < p - 0.5 for a, p in zip(adjusted.psnr, plain.psnr, strict=True))
    again = edit(model, pictures.images[1:], pictures.captions[1:], [[]], config, seeds=[2])
    assert again.psnr == pytest.approx(adjusted.psnr[1:], abs=0.01)
    with pytest.raises(ValueError, match="adjustment_strength needs one seed per image"):
        edit(model, pictures.images, pictures.captions, [[]] * 2, config)


@pytest.mark.parametrize("name", variants(sorted(SOLVERS), kept=sorted({*SOLVERS} - {"newton_krylov"})))
def test_black_grey_and_white_images_are_inverted_without_an_exception(model, name):
    images = torch.tensor([-1.0, 0.0, 1.0]).view(3, 1, 1, 1).expand(3, 3, 64, 64)
    latents, schedule = model.encode(images), model.schedule(2, "ddim")
    latents = torch.cat([latents, torch.zeros_like(latents[:1])])
    inversion = invert(
        model.denoiser(model.embed(["a picture"] * 4)),
        latents,
        schedule,
        make_solver(name),
        Stop(max_steps=2, tolerance=0.0),
    )
    assert torch.isfinite(inversion.latents).all()
    assert set(inversion.status.tolist()) <= {Status.CONVERGED, Status.MAX_STEPS, Status.DIVERGED}


def test_text_to_image_with_stored_noise_is_repeatable(model):
    config = EditConfig(sampler="euler_ancestral", num_steps=4, strength=1.0)
    both = text_to_image(model, ["a picture of a fox on snow"] * 2, [3, 4], config)
    torch.testing.assert_close(
        text_to_image(model, ["a picture of a fox on snow"], [4], config), both[1:], atol=1e-3, rtol=0
    )
    assert (both[0] - both[1]).abs().max() > 0.1
