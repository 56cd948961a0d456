"""What holds of every sampler's table, at every number of steps."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from diffusers import DDIMScheduler, FlowMatchEulerDiscreteScheduler

from augment.diffusion import (
    CLEAN,
    AffineStep,
    Denoiser,
    Level,
    Schedule,
    ddim,
    euler,
    euler_ancestral,
    flow_euler,
    lcm,
    sample,
    step_noise,
)
from augment.diffusion.step import diffusion_step
from tests.problems import latents

ALPHAS = DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear").alphas_cumprod


def flow(num_steps):
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    scheduler.set_timesteps(num_steps)
    return flow_euler(scheduler.sigmas[:-1].tolist())


TABLES = {
    **{
        f"{make.__name__} {spacing}": lambda n, make=make, spacing=spacing: make(
            ALPHAS, n, spacing=spacing, steps_offset=1
        )
        for make in (ddim, euler, euler_ancestral)
        for spacing in ("leading", "trailing", "linspace")
    },
    "euler karras": lambda n: euler(ALPHAS, n, respacing="karras", sigma_min=0.03),
    "euler exponential": lambda n: euler(ALPHAS, n, respacing="exponential", sigma_min=0.03),
    "lcm": lambda n: lcm(ALPHAS, n),
    "flow_euler": flow,
}
EVERY_TABLE = pytest.mark.parametrize("name", TABLES)


def tables(name):
    return [TABLES[name](n) for n in range(1, 51 if name == "lcm" else 101)]


@EVERY_TABLE
def test_each_step_ends_where_the_next_starts_and_the_last_one_ends_clean(name):
    for num_steps, schedule in enumerate(tables(name), start=1):
        assert len(schedule) == num_steps and schedule.is_closed
        assert all(step.end == following.start for step, following in pairwise(schedule.steps))
        assert schedule.steps[-1].end == CLEAN and schedule.steps[-1].c == 0.0


@EVERY_TABLE
def test_noise_and_timesteps_descend(name):
    for schedule in tables(name):
        levels = [schedule.start, *(step.end for step in schedule.steps)]
        assert all(start.noise > end.noise and start.log_snr < end.log_snr for start, end in pairwise(levels))
        times = [step.timestep for step in schedule.steps]
        assert times[0] <= 1000.0 and times[-1] >= 0.0
        assert all(earlier > later for earlier, later in pairwise(times))


@EVERY_TABLE
def test_a_step_takes_the_image_and_noise_of_its_start_to_those_of_its_end(name):
    """Of z = s x + v n with the true n as answer; for a flow the true answer is n - x."""
    for schedule in tables(name):
        for step in schedule.steps:
            to_image, to_noise = (-1.0, 1.0) if name == "flow_euler" else (0.0, 1.0)
            signal, noise = (
                step.a * step.start.signal + step.b * to_image,
                step.a * step.start.noise + step.b * to_noise,
            )
            # lcm's boundary condition mixes in 1e-7 of the noisy latents, at timesteps of 19 and above 1e-5 of them
            assert signal == pytest.approx(step.end.signal, abs=2e-5)
            assert math.hypot(noise, step.c) == pytest.approx(step.end.noise, abs=1e-5)


@EVERY_TABLE
def test_solving_a_step_undoes_it(name):
    z, eps, n = (latents(2, seed=seed).double() for seed in (1, 2, 3))
    for schedule in tables(name):
        for step in schedule.steps:
            torch.testing.assert_close(step.solve_linear(step.apply(z, eps, n), eps, n), z, rtol=0, atol=1e-12)


@pytest.mark.parametrize("spacing", ["leading", "trailing"])
def test_numbers_of_steps_that_divide_the_timesteps_give_the_table_of_diffusers_to_the_last_bit(spacing):
    for num_steps in (1, 2, 4, 5, 8, 10, 20, 25, 40, 50, 100):
        ours, theirs = (
            ddim(ALPHAS, num_steps, spacing=spacing, steps_offset=1, joints=joints)
            for joints in ("closed", "diffusers")
        )
        assert ours.steps == theirs.steps


def test_diffusers_own_ddim_leaves_gaps():
    table = ddim(ALPHAS, 28, joints="diffusers")
    assert sum(step.end != following.start for step, following in pairwise(table.steps)) == 19
    assert table.steps[-1].end != CLEAN
    assert [ddim(ALPHAS, n, joints="diffusers").steps[-1].end.noise for n in (7, 15, 28)] == pytest.approx(
        [0.0292] * 3, abs=1e-4
    )
    part = table.last_part(0.5)
    assert not part.is_closed and part.steps == table.steps[14:]


def test_a_schedule_with_a_gap_or_noise_at_its_end_is_refused():
    schedule = ddim(ALPHAS, 4)
    gap = (*schedule.steps[:1], *schedule.steps[2:])
    with pytest.raises(ValueError, match=r"step 0 ends at .* and step 1 starts at .*; give them one level"):
        replace(schedule, steps=gap)
    with pytest.raises(ValueError, match=r"its last step ends at .* and not at Level"):
        replace(schedule, steps=schedule.steps[:-1])
    with pytest.raises(ValueError, match="'ddim' has no steps"):
        replace(schedule, steps=())
    assert replace(schedule, steps=gap, is_closed=False).steps == gap


def test_the_logarithm_of_signal_to_noise_is_that():
    assert Level(0.6, 0.8).log_snr == pytest.approx(math.log(0.36 / 0.64))
    assert CLEAN.log_snr == math.inf and Level(0.0, 1.0).log_snr == -math.inf


@pytest.mark.parametrize("name", ["euler_ancestral trailing", "lcm"])
def test_sampling_that_adds_noise_wants_one_tensor_for_each_step(name):
    z, schedule = latents(2), TABLES[name](4)
    noise = step_noise(schedule, z, [1, 2])
    denoiser = Denoiser(lambda z, t: z.tanh())
    with pytest.raises(ValueError, match="adds noise in its steps and none was given; draw it with"):
        sample(denoiser, z, schedule)
    with pytest.raises(ValueError, match="takes 4 steps and wants one noise tensor for each, got 3"):
        sample(denoiser, z, schedule, noise=noise[1:])
    assert not torch.equal(sample(denoiser, z, schedule, noise=noise), sample(denoiser, z, schedule, noise=noise[::-1]))


def test_noise_for_other_numbers_of_steps_is_refused_also_where_none_is_added():
    with pytest.raises(ValueError, match="'ddim' takes 4 steps and wants one noise tensor for each, got 1"):
        sample(Denoiser(lambda z, t: z), latents(2), ddim(ALPHAS, 4), noise=[latents(2)])


def test_a_single_step_from_any_level_to_clean_is_a_schedule():
    step = diffusion_step(500.0, Level(0.6, 0.8), CLEAN)
    assert step == AffineStep(500.0, 1 / 0.6, -0.8 / 0.6, 0.0, Level(0.6, 0.8), CLEAN)
    assert Schedule("one", (step,)).start == Level(0.6, 0.8)


@pytest.mark.parametrize(("num_steps", "offset"), [(1000, 1), (500, 3)])
def test_leading_steps_beyond_the_last_timestep_are_refused(num_steps, offset):
    with pytest.raises(ValueError, match=f"{num_steps} leading steps with steps_offset {offset} start beyond .* 999"):
        ddim(ALPHAS, num_steps, spacing="leading", steps_offset=offset)
