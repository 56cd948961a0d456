"""Every sampler against the diffusers scheduler of the same name, on the same network and the same noise."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    EDMEulerScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    LCMScheduler,
)

from augment.diffusion import (
    AffineStep,
    Denoiser,
    Level,
    flow_euler,
    lcm,
    matched_noise,
    sample,
)
from augment.errors import ModelError
from augment.models.flow_schedule import FlowSchedule
from augment.models.noise_schedule import SAMPLERS, NoiseSchedule
from tests.problems import LinearProblem, latents

# EulerDiscreteScheduler and its kin convert tensors in a way that NumPy 2 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

NOISE_SCHEDULE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
PREDICTION_TYPES = pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction", "sample"])
SPACINGS = pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
LINEAR = LinearProblem.random(0, norm=1.0).denoiser()


def network(z, t):
    """Depends on everything it is told; nonlinear, so that a wrong scale of its input shows."""
    return torch.tanh(LINEAR(z, t)) * (0.5 + t.view(-1, 1, 1, 1) / 1000)


def ours(noise_schedule, sampler, num_steps, start, noise=None):
    denoiser = Denoiser(lambda z, t: noise_schedule.eps(network(z, t), z, t))
    return sample(denoiser, start, noise_schedule.table(num_steps, sampler), noise=noise)


def theirs(scheduler, num_steps, start, **arguments):
    """The loop of diffusers' pipelines."""
    scheduler.set_timesteps(num_steps)
    z = start
    for t in scheduler.timesteps:
        prediction = network(scheduler.scale_model_input(z, t), t.float().repeat(len(z)))
        z = scheduler.step(prediction, t, z, **arguments).prev_sample
    return z


def wrap(scheduler):
    return NoiseSchedule(scheduler, "toy", torch.device("cpu"))


def drawn(seed, shape, count):
    """What `count` calls of diffusers' `randn_tensor` draw from a generator of that seed."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator) for _ in range(count)]


def relative_error(found, expected):
    return torch.linalg.vector_norm(found - expected) / torch.linalg.vector_norm(expected)


def scaled(start, schedule):
    """Latents as the Euler schedulers of diffusers keep them: times sqrt(1 + sigma^2), so with unit signal."""
    return start / schedule.start.signal


@PREDICTION_TYPES
@SPACINGS
@pytest.mark.parametrize("num_steps", [1, 4, 7, 30])
def test_euler_equals_diffusers(prediction_type, spacing, num_steps):
    settings = {"timestep_spacing": spacing, "steps_offset": 1, "prediction_type": prediction_type, **NOISE_SCHEDULE}
    noise_schedule, start = wrap(EulerDiscreteScheduler(**settings)), latents(3)
    large = scaled(start, noise_schedule.table(num_steps, "euler"))
    expected = theirs(EulerDiscreteScheduler(**settings), num_steps, large)
    assert relative_error(ours(noise_schedule, "euler", num_steps, start), expected) <= 1e-5


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])  # diffusers knows no more here
@SPACINGS
@pytest.mark.parametrize("num_steps", [4, 7, 30])
def test_euler_ancestral_equals_diffusers(prediction_type, spacing, num_steps):
    settings = {"timestep_spacing": spacing, "steps_offset": 1, "prediction_type": prediction_type, **NOISE_SCHEDULE}
    noise_schedule, start = wrap(EulerAncestralDiscreteScheduler(**settings)), latents(3)
    large = scaled(start, noise_schedule.table(num_steps, "euler_ancestral"))
    scheduler = EulerAncestralDiscreteScheduler(**settings)
    expected = theirs(scheduler, num_steps, large, generator=torch.Generator().manual_seed(7))
    noise = drawn(7, start.shape, num_steps)
    assert relative_error(ours(noise_schedule, "euler_ancestral", num_steps, start, noise), expected) <= 1e-5
    other = drawn(8, start.shape, num_steps)
    assert relative_error(ours(noise_schedule, "euler_ancestral", num_steps, start, other), expected) > 0.1


@PREDICTION_TYPES
@pytest.mark.parametrize("num_steps", [1, 4, 8])
@pytest.mark.parametrize(
    "settings", [{"original_inference_steps": 50}, {"original_inference_steps": 20}, {"timestep_scaling": 1e-3}]
)
def test_lcm_equals_diffusers(prediction_type, num_steps, settings):
    """A small scaling makes the boundary condition's share of the latents visible: it is 1e-7 by default."""
    settings = {"prediction_type": prediction_type, **settings, **NOISE_SCHEDULE}
    start = latents(3)
    expected = theirs(LCMScheduler(**settings), num_steps, start, generator=torch.Generator().manual_seed(7))
    found = ours(wrap(LCMScheduler(**settings)), "lcm", num_steps, start, drawn(7, start.shape, num_steps))
    assert relative_error(found, expected) <= 1e-5


@pytest.mark.parametrize(
    ("settings", "num_steps"),
    [
        *itertools.product([{}, {"shift": 3.0}], [1, 4, 28]),
        *itertools.product([{"shift": 3.0, "shift_terminal": 0.1}], [4, 28]),  # diffusers divides 0 by 0 for one step
    ],
)
def test_flow_euler_equals_diffusers(settings, num_steps):
    scheduler = FlowMatchEulerDiscreteScheduler(**settings)
    start, z = latents(3), latents(3)
    scheduler.set_timesteps(num_steps)
    for t in scheduler.timesteps:
        z = scheduler.step(network(z, t.repeat(3)), t, z).prev_sample
    schedule = FlowSchedule(scheduler, "toy").table(num_steps, "flow_euler", image_tokens=4096)
    assert relative_error(sample(Denoiser(network), start, schedule), z) <= 1e-5


def test_published_timesteps_and_noise_levels():
    turbo = wrap(EulerDiscreteScheduler(**NOISE_SCHEDULE, timestep_spacing="trailing")).table(4, "euler")
    levels = [s.start.noise / s.start.signal for s in turbo.steps]
    assert levels == pytest.approx([14.6146, 4.0817, 1.6129, 0.6932], abs=1e-4)  # sd-turbo in four steps
    table = lcm(wrap(LCMScheduler(**NOISE_SCHEDULE)).alphas_cumprod, 4)
    assert [s.timestep for s in table.steps] == [999, 759, 499, 259]  # Luo et al.'s released scheduler
    # FLUX.1-dev at 1024 x 1024 shifts by exp(1.15); sigma = e^mu / (e^mu + 1 / t - 1)
    dev = FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True)
    times = [1.0, 0.75, 0.5, 0.25]
    table = FlowSchedule(dev, "toy").table(4, "flow_euler", image_tokens=4096, unshifted=times)
    shift = math.exp(1.15)
    assert [s.start.noise for s in table.steps] == pytest.approx([shift / (shift + 1 / t - 1) for t in times])
    # and by exp(0.5) at 256 x 256, which has 256 tokens
    table = FlowSchedule(dev, "toy").table(4, "flow_euler", image_tokens=256, unshifted=times)
    shift = math.exp(0.5)
    assert [s.start.noise for s in table.steps] == pytest.approx([shift / (shift + 1 / t - 1) for t in times])
    # Stable Diffusion 3 shifts the interval's ends, and then every level between them once more
    table = table_of("flow_euler", 3)
    last = 3 * 0.001 / (1 + 2 * 0.001)
    levels = [s.start.noise for s in table.steps]
    assert levels == pytest.approx([3 * s / (1 + 2 * s) for s in (1, (1 + last) / 2, last)])


def test_euler_in_unit_variance_latents_is_ddim():
    noise_schedule = wrap(DDIMScheduler(timestep_spacing="trailing", **NOISE_SCHEDULE))
    for num_steps in (4, 7, 10, 28):
        pairs = zip(*(noise_schedule.table(num_steps, s).steps for s in ("euler", "ddim")), strict=True)
        for euler_step, ddim_step in pairs:
            assert (euler_step.a, euler_step.b) == pytest.approx((ddim_step.a, ddim_step.b), rel=1e-5)


@pytest.mark.parametrize("num_steps", [1, 4, 20])
@pytest.mark.parametrize("sampler", [*SAMPLERS, "flow_euler"])
def test_a_step_backwards_undoes_the_step_forwards(sampler, num_steps):
    z, eps, noise = latents(3, seed=1), latents(3, seed=2), latents(3, seed=3)
    for step in table_of(sampler, num_steps).steps:
        after = step.apply(z, eps, noise)
        assert relative_error(after, z) > 1e-3
        torch.testing.assert_close(step.solve_linear(after, eps, noise), z, rtol=0, atol=2e-5)


@pytest.mark.parametrize("sampler", [*SAMPLERS, "flow_euler"])
def test_a_perfect_denoiser_ends_in_the_clean_latents(sampler):
    clean, first = latents(2, seed=1), latents(2, seed=2)
    schedule = table_of(sampler, 10)
    table = {step.timestep: step.start for step in schedule.steps}

    def perfect(z, t):
        level = table[min(table, key=lambda known: abs(known - float(t[0])))]
        eps = (z - level.signal * clean) / level.noise
        return eps - clean if sampler == "flow_euler" else eps

    start = schedule.start.signal * clean + schedule.start.noise * first
    ended = sample(Denoiser(perfect), start, schedule, noise=[latents(2, seed=10 + i) for i in range(10)])
    torch.testing.assert_close(ended, clean, rtol=0, atol=1e-4)


@pytest.mark.parametrize("sampler", ["euler_ancestral", "lcm"])
def test_added_noise_and_what_is_left_make_up_the_noise_of_the_next_level(sampler):
    schedule = table_of(sampler, 8)
    assert schedule.is_stochastic and schedule.steps[-1].c == 0.0
    for step in schedule.steps:
        left = step.b + step.a * step.start.noise  # of the predicted noise
        assert left**2 + step.c**2 == pytest.approx(step.end.noise**2, abs=1e-5)


def table_of(sampler, num_steps):
    if sampler == "flow_euler":
        scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
        return FlowSchedule(scheduler, "toy").table(num_steps, sampler, image_tokens=4096)
    scheduler = LCMScheduler if sampler == "lcm" else DDIMScheduler
    return wrap(scheduler(timestep_spacing="trailing", **NOISE_SCHEDULE)).table(num_steps, sampler)


def unit_normals(count, size=64):
    """Vectors [1, 1, 8, 8] of mean 0, variance 1 and correlation 0, exactly: a Gaussian's moments in one sample."""
    columns = torch.randn(size, count + 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    columns[:, 0] = 1.0
    return [c.view(1, 1, 8, 8) * size**0.5 for c in torch.linalg.qr(columns).Q[:, 1:].T]


def mean_product(a, b):
    return float((a * b).mean())


@pytest.mark.parametrize("c", [0.2, 0.5, 0.79])
def test_matched_noise_is_distributed_as_the_noise_of_the_step_given_its_end(c):
    end = Level(0.6, 0.8)
    step = AffineStep(timestep=500.0, a=1.2, b=-0.6, c=c, start=Level(0.5, 0.75**0.5), end=end)
    clean, e, n, fresh = unit_normals(4)
    rest = (end.noise**2 - c**2) ** 0.5
    after = end.signal * clean + rest * e + c * n
    found = matched_noise(step, after, clean, fresh)
    own = (after - end.signal * clean) / end.noise
    assert mean_product(found, found) == pytest.approx(1.0)
    assert mean_product(found, own) == pytest.approx(c / end.noise) == pytest.approx(mean_product(n, own))
    left = (after - end.signal * clean - c * found) / rest  # takes e's place
    assert mean_product(left, left) == pytest.approx(1.0) and mean_product(left, found) == pytest.approx(0.0, abs=1e-9)
    unmatched = (after - end.signal * clean - c * fresh) / rest
    assert mean_product(unmatched, unmatched) == pytest.approx((end.noise**2 + c**2) / (end.noise**2 - c**2))


def test_matched_noise_of_a_step_that_adds_all_noise_is_the_noise_there():
    schedule = table_of("lcm", 4)
    clean, n, fresh = unit_normals(3)
    for step in schedule.steps[:-1]:
        after = step.end.signal * clean + step.end.noise * n
        torch.testing.assert_close(matched_noise(step, after, clean, fresh), n)
    assert matched_noise(schedule.steps[-1], clean, clean, fresh) is fresh  # it adds none


def test_other_kinds_of_schedulers_and_too_many_steps_are_refused():
    with pytest.raises(ModelError, match="EDMEulerScheduler has no beta schedule"):
        wrap(EDMEulerScheduler())
    with pytest.raises(ModelError, match="FlowMatchEulerDiscreteScheduler has no beta schedule"):
        wrap(FlowMatchEulerDiscreteScheduler())
    with pytest.raises(ModelError, match="prediction_type 'flow_prediction' of its scheduler is not supported"):
        wrap(DDIMScheduler(prediction_type="flow_prediction"))
    with pytest.raises(ModelError, match="DDIMScheduler is not supported"):
        FlowSchedule(DDIMScheduler(), "toy")
    with pytest.raises(ValueError, match=r"num_steps must be in 1\.\.50 with the lcm sampler, got 51"):
        wrap(LCMScheduler()).table(51, "lcm")
    with pytest.raises(ValueError, match="must descend from at most 1 to above 0"):
        flow_euler([0.5, 0.8])
