"""Edit-friendly noise maps: what sampling with them leads to, and what they are."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from augment.diffusion import (
    Denoiser,
    ddim,
    euler_ancestral,
    lcm,
    sample,
)
from augment.inversion import edit_friendly
from tests.problems import latents, nonlinear_denoiser

ALPHAS = torch.linspace(0.999, 0.01, 1000)


def noise_for(schedule, count, shape=(3, 2, 2)):
    return [latents(count, seed=20 + i, shape=shape) for i in range(len(schedule))]


def ideal_denoiser(clean, schedule):
    """eps(z, t) of a data set with one image: what is left of z without it."""
    levels = {step.timestep: step.start for step in schedule.steps}

    def predict(z, t, x):
        level = levels[float(t[0])]
        return (z - level.signal * x) / level.noise

    return Denoiser(predict, (clean,))


@pytest.mark.parametrize("make", [euler_ancestral, lcm])
@pytest.mark.parametrize("strength", [1.0, 0.5])
def test_sampling_visits_the_chosen_latents_and_ends_in_the_last_steps_prediction(make, strength):
    denoiser, clean = nonlinear_denoiser(), latents(7, seed=4)
    schedule = make(ALPHAS, 6).last_part(strength)
    noise = noise_for(schedule, 7)
    start, maps = edit_friendly(denoiser, clean, schedule, noise)
    level = schedule.steps[-1].start
    last = level.signal * clean + level.noise * noise[-1]
    but_one = replace(schedule, steps=schedule.steps[:-1], is_closed=False)
    torch.testing.assert_close(sample(denoiser, start, but_one, noise=maps[:-1]), last, rtol=1e-4, atol=1e-5)
    step = schedule.steps[-1]
    prediction = step.a * last + step.b * denoiser(last, torch.full((7,), step.timestep))
    torch.testing.assert_close(sample(denoiser, start, schedule, noise=maps), prediction, rtol=1e-4, atol=1e-4)
    assert len(maps) == len(schedule) and not maps[-1].any()


def test_sampling_returns_the_image_where_the_last_prediction_is_right():
    clean, schedule = latents(3, seed=4), euler_ancestral(ALPHAS, 5)
    denoiser = ideal_denoiser(clean, schedule)
    start, maps = edit_friendly(denoiser, clean, schedule, noise_for(schedule, 3))
    torch.testing.assert_close(sample(denoiser, start, schedule, noise=maps), clean, rtol=1e-4, atol=1e-4)


def test_a_map_by_hand():
    schedule = euler_ancestral(ALPHAS, 2)
    step, first, second = schedule.steps[0], *(s.start for s in schedule.steps)
    x, n, following = torch.tensor(2.0), torch.tensor(0.5), torch.tensor(-1.5)
    denoiser = Denoiser(lambda z, t: torch.full_like(z, 0.25))
    shaped = [v.view(1, 1, 1, 1) for v in (x, n, following)]
    start, maps = edit_friendly(denoiser, shaped[0], schedule, shaped[1:])
    z = first.signal * x + first.noise * n
    after = second.signal * x + second.noise * following
    assert float(start) == pytest.approx(float(z), rel=1e-6)
    assert float(maps[0]) == pytest.approx(float(after - step.a * z - step.b * 0.25) / step.c, rel=1e-5)


def test_maps_are_larger_than_noise_and_opposed_to_their_neighbours():
    """For the ideal denoiser z_t = (v' n' - sqrt(v'^2 - c^2) n) / c, so its variance is 2 v'^2 / c^2 - 1."""
    shape = (4, 32, 32)
    clean, schedule = latents(1, seed=4, shape=shape), euler_ancestral(ALPHAS, 6)
    noise = noise_for(schedule, 1, shape)
    _, maps = edit_friendly(ideal_denoiser(clean, schedule), clean, schedule, noise)
    for step, z_t in zip(schedule.steps[:-1], maps[:-1], strict=True):
        expected = 2.0 * (step.end.noise / step.c) ** 2 - 1.0
        assert expected > 1.0
        assert float(z_t.var()) == pytest.approx(expected, rel=0.1)
    assert float((maps[1] * maps[2]).mean()) < -0.3


def test_maps_do_not_depend_on_batch_mates():
    denoiser, clean, schedule = nonlinear_denoiser(), latents(7, seed=4), euler_ancestral(ALPHAS, 4)
    noise = noise_for(schedule, 7)
    start, maps = edit_friendly(denoiser, clean, schedule, noise)
    for i in (0, 6):
        index = torch.tensor([i])
        alone, alone_maps = edit_friendly(denoiser.select(index), clean[index], schedule, [n[index] for n in noise])
        torch.testing.assert_close(start[index], alone)
        torch.testing.assert_close([m[index] for m in maps], alone_maps)


def test_half_precision_networks_are_met_in_float32():
    schedule = euler_ancestral(ALPHAS, 3)
    denoiser = Denoiser(lambda z, t: z.bfloat16() / 2)
    clean = latents(2, seed=4)
    noise = noise_for(schedule, 2)
    start, maps = edit_friendly(denoiser, clean.bfloat16(), schedule, noise)
    expected = schedule.start.signal * clean.bfloat16().float() + schedule.start.noise * noise[0]
    torch.testing.assert_close(start, expected)
    assert {start.dtype, *(m.dtype for m in maps)} == {torch.float32}


def test_what_cannot_have_maps_is_refused():
    denoiser, clean = nonlinear_denoiser(), latents(7)
    with pytest.raises(ValueError, match="'ddim' adds no noise"):
        edit_friendly(denoiser, clean, ddim(ALPHAS, 3), [clean] * 3)
    with pytest.raises(ValueError, match="3 steps need one noise tensor each, got 2"):
        edit_friendly(denoiser, clean, euler_ancestral(ALPHAS, 3), [clean] * 2)
