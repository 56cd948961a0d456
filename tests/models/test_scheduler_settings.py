"""Settings in a scheduler's config that change its noise levels: followed as diffusers does, or refused by name."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    LCMScheduler,
)

from augment.diffusion import Denoiser, sample
from augment.errors import ModelError
from augment.models.flow_schedule import FlowSchedule
from augment.models.noise_schedule import SAMPLERS, NoiseSchedule
from tests.problems import LinearProblem, latents

# EulerDiscreteScheduler converts tensors in a way that NumPy 2 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
LINEAR = LinearProblem.random(0, norm=1.0).denoiser()
CPU = torch.device("cpu")


def network(z, t):
    return torch.tanh(LINEAR(z, t)) * (0.5 + t.view(-1, 1, 1, 1) / 1000)


def wrap(scheduler, device=CPU):
    return NoiseSchedule(scheduler, "toy", device)


def flow_table(scheduler, num_steps):
    return FlowSchedule(scheduler, "toy").table(num_steps, "flow_euler", image_tokens=1024)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
@pytest.mark.parametrize("num_steps", [1, 4, 30])
@pytest.mark.parametrize(
    "respacing",
    [
        {"use_karras_sigmas": True},
        {"use_exponential_sigmas": True},
        {"use_karras_sigmas": True, "sigma_min": 0.1, "sigma_max": 12.0},
    ],
    ids=["karras", "exponential", "karras between bounds"],
)
def test_respaced_euler_equals_diffusers(prediction_type, spacing, num_steps, respacing):
    settings = {"timestep_spacing": spacing, "steps_offset": 1, "prediction_type": prediction_type} | BETAS | respacing
    scheduler, start = EulerDiscreteScheduler(**settings), latents(3)
    noise_schedule = wrap(scheduler)
    table = noise_schedule.table(num_steps, "euler")
    scheduler.set_timesteps(num_steps)
    assert [s.start.noise / s.start.signal for s in table.steps] == pytest.approx(
        scheduler.sigmas[:-1].tolist(), rel=1e-5
    )
    assert [s.timestep for s in table.steps] == pytest.approx(scheduler.timesteps.tolist(), abs=0.1)
    ours = sample(Denoiser(lambda z, t: noise_schedule.eps(network(z, t), z, t)), start, table)
    theirs = start / table.start.signal  # diffusers keeps latents with unit signal
    for t in scheduler.timesteps:
        prediction = network(scheduler.scale_model_input(theirs, t), t.float().repeat(3))
        theirs = scheduler.step(prediction, t, theirs).prev_sample
    error = torch.linalg.vector_norm(ours - theirs) / torch.linalg.vector_norm(theirs)
    assert error <= 1e-4  # the network is told timesteps that differ by up to a tenth


def test_respacing_visits_other_levels_between_the_same_ends():
    tables = [
        wrap(EulerDiscreteScheduler(timestep_spacing="trailing", **BETAS, **respacing)).table(8, "euler")
        for respacing in ({}, {"use_karras_sigmas": True}, {"use_exponential_sigmas": True})
    ]
    sigmas = [[s.start.noise / s.start.signal for s in table.steps] for table in tables]
    for respaced in sigmas[1:]:
        assert (respaced[0], respaced[-1]) == pytest.approx((sigmas[0][0], sigmas[0][-1]))
        assert max(abs(a - b) for a, b in zip(respaced, sigmas[0], strict=True)) > 0.1
    # Karras et al. 2022, eq. 5, halfway down its seven intervals in sigma^(1/7); the exponential one in log sigma
    roots, logs = [s ** (1 / 7) for s in sigmas[1]], [math.log(s) for s in sigmas[2]]
    for evenly in (roots, logs):
        assert np.diff(evenly) == pytest.approx([(evenly[-1] - evenly[0]) / 7] * 7)


@pytest.mark.parametrize("scheduler_class", [LCMScheduler, DDIMScheduler, EulerDiscreteScheduler])
def test_settings_that_a_config_leaves_out_are_those_of_the_scheduler_it_names(scheduler_class):
    scheduler = scheduler_class()
    torch.testing.assert_close(wrap(scheduler).alphas_cumprod, scheduler.alphas_cumprod)
    starts_at_the_last_timestep = scheduler.config.timestep_spacing == "linspace"
    assert (wrap(scheduler).table(4, "euler").steps[0].timestep == 999.0) == starts_at_the_last_timestep


@pytest.mark.parametrize("setting", ["use_karras_sigmas", "use_exponential_sigmas", "use_lu_lambdas"])
def test_what_a_model_carries_for_dpm_solvers_does_not_touch_other_samplers(setting):
    """As in diffusers: its schedulers of those names do not read it."""
    carried = wrap(DPMSolverMultistepScheduler(**BETAS, **{setting: True}))
    plain = wrap(DPMSolverMultistepScheduler(**BETAS))
    for sampler in ("ddim", "euler_ancestral", "lcm"):
        assert carried.table(8, sampler) == plain.table(8, sampler)
    assert (carried.table(8, "euler") == plain.table(8, "euler")) == (setting == "use_lu_lambdas")
    theirs = EulerAncestralDiscreteScheduler.from_config(DPMSolverMultistepScheduler(**BETAS, **{setting: True}).config)
    theirs.set_timesteps(8)
    sigmas = [s.start.noise / s.start.signal for s in carried.table(8, "euler_ancestral").steps]
    assert sigmas == pytest.approx(theirs.sigmas[:-1].tolist(), rel=1e-5)


@pytest.mark.parametrize(
    ("scheduler", "sampler", "message", "others"),
    [
        (
            EulerDiscreteScheduler(final_sigmas_type="sigma_min", **BETAS),
            "euler",
            "final_sigmas_type 'sigma_min'",
            ("ddim", "euler_ancestral", "lcm"),
        ),
        (
            EulerDiscreteScheduler(interpolation_type="log_linear", **BETAS),
            "euler",
            "interpolation_type 'log_linear'",
            ("ddim", "euler_ancestral", "lcm"),
        ),
        (DDIMScheduler(thresholding=True, **BETAS), "ddim", "thresholding True", ("euler", "euler_ancestral")),
        (LCMScheduler(thresholding=True, **BETAS), "lcm", "thresholding True", ("euler", "euler_ancestral")),
    ],
)
def test_what_is_not_supported_is_refused_by_name_with_the_sampler_that_reads_it(scheduler, sampler, message, others):
    noise_schedule = wrap(scheduler)
    with pytest.raises(
        ModelError, match=f"model 'toy': {message} of its scheduler is not supported with the {sampler}"
    ) as e:
        noise_schedule.table(4, sampler)
    assert f"choose a sampler that does not read it ({', '.join(others)}), or change {message.split()[0]}" in str(
        e.value
    )
    assert [noise_schedule.table(4, other).name for other in others] == list(others)


def test_beta_sigmas_are_refused_where_diffusers_can_make_them():
    """It wants scipy for them, which may be missing here."""
    scheduler = EulerDiscreteScheduler(**BETAS)
    scheduler.register_to_config(use_beta_sigmas=True)
    with pytest.raises(ModelError, match="use_beta_sigmas True of its scheduler is not supported with the euler"):
        wrap(scheduler).table(4, "euler")


ZERO_SNR = {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"} | BETAS


def test_a_schedule_that_ends_without_any_image_is_refused_by_every_sampler_that_starts_there():
    noise_schedule = wrap(DDIMScheduler(**ZERO_SNR))
    for sampler in SAMPLERS:
        table = noise_schedule.table(4, sampler)
        assert len(table.last_part(0.75)) == 3
        with pytest.raises(ValueError, match=r"zero signal \(rescale_betas_zero_snr: true in the"):
            table.last_part(1.0)


@pytest.mark.parametrize("prediction_type", ["v_prediction", "sample"])
@pytest.mark.parametrize("num_steps", [4, 1000])
def test_the_rest_of_a_schedule_that_ends_without_any_image_equals_diffusers(prediction_type, num_steps):
    scheduler = DDIMScheduler(prediction_type=prediction_type, set_alpha_to_one=True, clip_sample=False, **ZERO_SNR)
    scheduler.set_timesteps(num_steps)
    noise_schedule, start = wrap(scheduler), latents(3)
    table = noise_schedule.table(num_steps, "ddim").last_part(1 - 1 / num_steps)
    part = replace(table, steps=table.steps[:6], is_closed=False)  # 1000 steps: the first starts at 998
    ours = sample(Denoiser(lambda z, t: noise_schedule.eps(network(z, t), z, t)), start, part)
    theirs = start
    for t in scheduler.timesteps[1:7]:
        theirs = scheduler.step(network(theirs, t.float().repeat(3)), t, theirs).prev_sample
    assert torch.linalg.vector_norm(ours - theirs) <= 1e-4 * torch.linalg.vector_norm(theirs)


def test_networks_that_are_told_the_noise_level_are_refused():
    scheduler = EulerDiscreteScheduler(timestep_type="continuous", prediction_type="v_prediction", **BETAS)
    with pytest.raises(ModelError, match="timestep_type 'continuous' of its scheduler is not supported"):
        wrap(scheduler)
    unread = EulerDiscreteScheduler(timestep_type="continuous", **BETAS)  # but for v-prediction it has no effect
    assert wrap(unread).table(4, "euler") == wrap(EulerDiscreteScheduler(**BETAS)).table(4, "euler")


@pytest.mark.parametrize("setting", ["use_karras_sigmas", "use_exponential_sigmas"])
@pytest.mark.parametrize("num_steps", [4, 28])
def test_respaced_flows_equal_diffusers(setting, num_steps):
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0, **{setting: True})
    table = flow_table(scheduler, num_steps)
    scheduler.set_timesteps(num_steps)
    assert [s.start.noise for s in table.steps] == pytest.approx(scheduler.sigmas[:-1].tolist())
    assert [s.timestep for s in table.steps] == pytest.approx(scheduler.timesteps.tolist(), rel=1e-6)
    plain = flow_table(FlowMatchEulerDiscreteScheduler(shift=3.0), num_steps)
    assert max(abs(a.start.noise - b.start.noise) for a, b in zip(table.steps, plain.steps, strict=True)) > 0.05


def test_linear_time_shift_is_followed():
    scheduler = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, time_shift_type="linear")
    mu = 0.5 + 0.65 * (1024 - 256) / 3840
    levels = [s.start.noise for s in flow_table(scheduler, 3).steps]
    assert levels == pytest.approx([mu / (mu + 1 / t - 1) for t in (1.0, 0.5005, 0.001)])


@pytest.mark.parametrize("setting", ["invert_sigmas", "stochastic_sampling"])
def test_flows_that_run_the_other_way_or_add_noise_are_refused(setting):
    with pytest.raises(ModelError, match=f"model 'toy': {setting} True of its scheduler is not supported"):
        flow_table(FlowMatchEulerDiscreteScheduler(**{setting: True}), 4)


@pytest.mark.parametrize("prediction_type", ["v_prediction", "sample"])
def test_predictions_are_turned_into_noise_without_leaving_the_device(prediction_type):
    """Tensors on the meta device have no numbers: whatever reads one on the host raises."""
    on_meta = wrap(DDIMScheduler(prediction_type=prediction_type, **BETAS), torch.device("meta"))
    z = torch.empty(2, 4, 8, 8, device="meta")
    assert on_meta.eps(z, z, torch.empty(2, device="meta")).device.type == "meta"


@pytest.mark.parametrize("prediction_type", ["v_prediction", "sample"])
def test_predictions_between_timesteps_take_the_interpolated_noise_level(prediction_type):
    noise_schedule = wrap(DDIMScheduler(prediction_type=prediction_type, **BETAS))
    clean, n = latents(5, seed=1), latents(5, seed=2)
    times = [0.0, 0.25, 500.0, 998.5, 999.0]
    table = ((1 - noise_schedule.alphas_cumprod.double()) / noise_schedule.alphas_cumprod.double()).sqrt().numpy()
    sigma = torch.tensor(np.interp(times, np.arange(1000), table)).view(-1, 1, 1, 1)
    signal, noise = 1 / (1 + sigma**2).sqrt(), sigma / (1 + sigma**2).sqrt()
    z = (signal * clean + noise * n).float()
    prediction = (signal * n - noise * clean if prediction_type == "v_prediction" else clean).float()
    torch.testing.assert_close(noise_schedule.eps(prediction, z, torch.tensor(times)), n, rtol=0, atol=2e-5)
