"""Samplers against closed forms and against diffusers' scheduler of the same name."""

from __future__ import annotations

import math

import pytest
import torch
from diffusers import DDIMScheduler

from augment.diffusion import (
    Denoiser,
    Level,
    ddim,
    euler,
    euler_ancestral,
    guided,
    lcm,
    sample,
)
from augment.diffusion.levels import timesteps
from augment.inversion import FixedPoint, Stop, invert
from tests.problems import LinearProblem, latents


def stable_diffusion_scheduler(spacing: str) -> DDIMScheduler:
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=spacing == "trailing",
        steps_offset=1,
        timestep_spacing=spacing,
    )


@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
@pytest.mark.parametrize("num_steps", [1, 3, 4, 7, 10, 20, 28, 50])
def test_ddim_equals_diffusers(spacing, num_steps):
    scheduler = stable_diffusion_scheduler(spacing)
    scheduler.set_timesteps(num_steps)
    schedule = ddim(
        scheduler.alphas_cumprod,
        num_steps,
        spacing=spacing,
        steps_offset=1,
        joints="diffusers",
        final_alpha_cumprod=float(scheduler.final_alpha_cumprod),
    )
    assert [int(s.timestep) for s in schedule.steps] == scheduler.timesteps.tolist()
    denoiser = LinearProblem.random(0, norm=1.0).denoiser()
    ours = theirs = latents(3)
    ours = sample(denoiser, ours, schedule)
    for t in scheduler.timesteps:
        theirs = scheduler.step(denoiser(theirs, t.repeat(3).float()), t, theirs).prev_sample
    assert torch.linalg.vector_norm(ours - theirs) <= 1e-5 * torch.linalg.vector_norm(theirs)


def test_trailing_timesteps_are_the_published_ones():
    assert timesteps(1000, 4, "trailing", 0) == [999, 749, 499, 249]  # Lin et al. 2024, table 2
    assert timesteps(1000, 4, "leading", 1) == [751, 501, 251, 1]


def test_a_perfect_denoiser_returns_the_clean_latents_in_any_number_of_steps():
    scheduler = stable_diffusion_scheduler("trailing")
    clean, noise = latents(2, seed=1), latents(2, seed=2)
    for num_steps in (1, 5, 7, 20, 28):
        schedule = ddim(scheduler.alphas_cumprod, num_steps)
        start = schedule.start.signal * clean + schedule.start.noise * noise
        ended = sample(Denoiser(lambda z, t: noise), start, schedule)
        torch.testing.assert_close(ended, clean, rtol=0, atol=2e-5)


@pytest.mark.parametrize(("strength", "count"), [(1.0, 10), (0.7, 7), (0.3, 3), (0.01, 1)])
def test_strength_keeps_the_last_steps(strength, count):
    schedule = ddim(stable_diffusion_scheduler("trailing").alphas_cumprod, 10)
    part = schedule.last_part(strength)
    assert part.steps == schedule.steps[10 - count :]
    assert part.start == schedule.steps[10 - count].start


@pytest.mark.parametrize("strength", [0.0, -0.1, 1.1])
def test_strength_outside_its_range_is_refused(strength):
    schedule = ddim(stable_diffusion_scheduler("trailing").alphas_cumprod, 4)
    with pytest.raises(ValueError, match=r"strength must be in \(0, 1\]"):
        schedule.last_part(strength)


@pytest.mark.parametrize("num_steps", [0, 1001])
def test_impossible_step_counts_are_refused(num_steps):
    with pytest.raises(ValueError, match=r"num_steps must be in 1\.\.1000"):
        ddim(stable_diffusion_scheduler("trailing").alphas_cumprod, num_steps)


ZERO_SIGNAL = torch.linspace(0.999, 0.0, 1000)  # ends without any image


@pytest.mark.parametrize("make", [ddim, euler, euler_ancestral, lcm])
def test_only_the_step_from_noise_without_signal_cannot_be_walked(make):
    schedule = make(ZERO_SIGNAL, 4)
    assert (schedule.start, schedule.is_closed) == (Level(0.0, 1.0), True)
    assert [step.is_singular for step in schedule.steps] == [True, False, False, False]
    part = schedule.last_part(0.75)
    assert part.steps == schedule.steps[1:]
    assert all(math.isfinite(number) for step in part.steps for number in (step.a, step.b, step.c))
    with pytest.raises(
        ValueError, match=r"rescale_betas_zero_snr.*strength 1.0 takes it: take a strength of at most 0.75,"
    ):
        schedule.last_part(1.0)


def test_one_step_from_noise_without_signal_needs_more_steps():
    with pytest.raises(ValueError, match=r"strength 0\.5 takes it: take more than one step and a strength below 1"):
        ddim(ZERO_SIGNAL, 1).last_part(0.5)


def test_noise_without_signal_is_neither_sampled_nor_inverted():
    schedule, z, denoiser = ddim(ZERO_SIGNAL, 4), latents(2), Denoiser(lambda z, t: z)
    for walk in (lambda: sample(denoiser, z, schedule), lambda: invert(denoiser, z, schedule, FixedPoint(), Stop())):
        with pytest.raises(ValueError, match=r"no inverse: take a strength of at most 0\.75"):
            walk()


@pytest.mark.parametrize("respacing", ["karras", "exponential"])
def test_levels_are_not_respaced_from_infinite_noise(respacing):
    with pytest.raises(ValueError, match=f"{respacing} noise levels cannot be spaced from there.*set sigma_max"):
        euler(ZERO_SIGNAL, 4, respacing=respacing)
    bounded = euler(ZERO_SIGNAL, 4, respacing=respacing, sigma_max=20.0)
    assert bounded.last_part(1.0).start.noise / bounded.start.signal == pytest.approx(20.0)


def test_guidance_is_the_published_combination_and_selects_per_sample():
    def predict(z, t, condition):
        return condition.view(-1, 1, 1, 1) * z

    z, t = latents(3), torch.zeros(3)
    cond, uncond = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0.5, 0.5, 0.5])
    denoiser = guided(predict, (cond,), (uncond,), 3.0)
    expected = uncond + 3.0 * (cond - uncond)
    torch.testing.assert_close(denoiser(z, t), expected.view(-1, 1, 1, 1) * z)
    index = torch.tensor([2, 0])
    torch.testing.assert_close(denoiser.select(index)(z[index], t[index]), expected[index].view(-1, 1, 1, 1) * z[index])


def test_guidance_of_one_does_not_evaluate_the_unconditional_half():
    sizes = []

    def predict(z, t, condition):
        sizes.append(len(z))
        return z

    guided(predict, (torch.ones(3),), (torch.zeros(3),), 1.0)(latents(3), torch.zeros(3))
    assert sizes == [3]
