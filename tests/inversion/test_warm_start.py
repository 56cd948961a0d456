"""The first guess at an inverted step: what it is, and that it costs nothing."""

from __future__ import annotations

import math

import pytest
import torch

from augment.diffusion import CLEAN, AffineStep, Denoiser, Level, ddim, flow_euler
from augment.inversion import SOLVERS, RNRIReleased, StepEquation, Stop, invert, make_solver
from augment.inversion.warm_start import Prediction, first_guess
from tests.problems import STEP, latents, nonlinear_denoiser

BASE, SLOPE = latents(2, seed=8), latents(2, seed=9)
LOG_SNR = 2.0 * math.log(0.8 / 0.6)  # of the latents that STEP starts from


def prediction(log_snr):
    return Prediction(log_snr, BASE + log_snr * SLOPE)


def equation(step=STEP):
    return StepEquation(Denoiser(lambda z, t: z), step, latents(2))


def f(eq, eps):
    return (eq.after - eq.step.b * eps) / eq.step.a


@pytest.mark.parametrize("warm_start", ["none", "previous", "extrapolated"])
def test_the_first_inverted_step_starts_from_the_latents_it_ends_in(warm_start):
    eq = equation()
    assert torch.equal(first_guess(eq, warm_start, []), eq.after)


def test_none_stays_with_them():
    eq = equation()
    assert torch.equal(first_guess(eq, "none", [prediction(3.0), prediction(1.0)]), eq.after)


def test_previous_is_f_of_the_newest_prediction():
    eq = equation()
    found = first_guess(eq, "previous", [prediction(3.0), prediction(1.0)])
    torch.testing.assert_close(found, f(eq, prediction(1.0).eps))


def test_extrapolated_continues_the_line_through_two_predictions_in_the_log_snr():
    eq = equation()
    found = first_guess(eq, "extrapolated", [prediction(3.0), prediction(1.0)])
    torch.testing.assert_close(found, f(eq, BASE + LOG_SNR * SLOPE))
    assert eq.cost.calls == 0


def test_extrapolated_takes_the_only_prediction_there_is():
    eq = equation()
    torch.testing.assert_close(first_guess(eq, "extrapolated", [prediction(1.0)]), f(eq, prediction(1.0).eps))


def test_pure_noise_is_no_place_to_extrapolate_to():
    eq = equation(AffineStep(timestep=1000.0, a=1.0, b=-0.3, c=0.0, start=Level(0.0, 1.0), end=Level(0.3, 0.7)))
    found = first_guess(eq, "extrapolated", [prediction(3.0), prediction(1.0)])
    torch.testing.assert_close(found, f(eq, prediction(1.0).eps))


def test_latents_scaled_by_sigma_are_carried_over_in_that_scale():
    eq = equation(AffineStep(timestep=1.0, a=1.2, b=-0.6, c=0.0, start=Level(0.6, 0.8), end=Level(0.8, 0.6)))
    torch.testing.assert_close(first_guess(eq, "none", [], sigma_scaled=True), 0.75 * eq.after)
    warm = first_guess(eq, "previous", [prediction(1.0)], sigma_scaled=True)
    torch.testing.assert_close(warm, f(eq, prediction(1.0).eps))


def test_inversion_asks_where_the_line_leads():
    """The points at which a solver of one evaluation asks are its first guesses."""
    schedule, clean, asked = ddim(torch.linspace(0.999, 0.05, 1000), 4), latents(7, seed=4), []
    inner = nonlinear_denoiser()

    def predict(z, t, condition):
        asked.append((z, inner.predict(z, t, condition)))
        return asked[-1][1]

    denoiser = Denoiser(predict, inner.conditions)
    ends = [clean]
    invert(denoiser, clean, schedule, make_solver("fixed_point"), Stop(max_steps=1, tolerance=0.0),
           callback=lambda i, s: ends.append(s.z))  # fmt: skip
    steps = schedule.steps[::-1]
    snr = [math.log(s.start.signal**2 / s.start.noise**2) for s in steps]
    eps = [e for _, e in asked]
    for i in (2, 3):
        line = eps[i - 1] + (snr[i] - snr[i - 1]) / (snr[i - 1] - snr[i - 2]) * (eps[i - 1] - eps[i - 2])
        torch.testing.assert_close(asked[i][0], (ends[i] - steps[i].b * line) / steps[i].a)
    torch.testing.assert_close(asked[1][0], (ends[1] - steps[1].b * eps[0]) / steps[1].a)
    torch.testing.assert_close(asked[0][0], clean)


@pytest.mark.parametrize("name", SOLVERS)
@pytest.mark.parametrize("warm_start", ["none", "previous", "extrapolated"])
def test_every_solver_takes_every_start_at_equal_cost(name, warm_start):
    schedule = ddim(torch.linspace(0.999, 0.05, 1000), 4)
    inversion = invert(
        nonlinear_denoiser(),
        latents(7, seed=4),
        schedule,
        make_solver(name),
        Stop(max_steps=2, tolerance=0.0),
        warm_start=warm_start,
    )
    assert torch.isfinite(inversion.latents).all()
    assert inversion.iterations.tolist() == [4 if name == "ddim" else 8] * 7


def test_a_rectified_flow_is_inverted_from_image_to_pure_noise():
    """Straight paths to one image: the velocity is the same along a path, so any number of steps is exact."""
    target = latents(1, seed=3, shape=(3, 2, 2))
    denoiser = Denoiser(lambda z, t: (z - target) / (t / 1000.0).view(-1, 1, 1, 1))
    schedule = flow_euler([1.0, 0.6, 0.3], num_train_timesteps=1000)
    noise = latents(2, seed=5)
    clean = 0.97 * target + 0.03 * noise  # not quite at the end, where every path meets
    inversion = invert(denoiser, clean, schedule, make_solver("anderson"), Stop(max_steps=30, tolerance=1e-6))
    assert torch.isfinite(inversion.latents).all()
    assert schedule.start == Level(0.0, 1.0) and schedule.steps[-1].end == CLEAN


def test_only_the_released_code_scales_its_latents_by_sigma():
    assert [name for name, solver in SOLVERS.items() if solver.sigma_scaled] == ["rnri_released"]
    assert RNRIReleased.sigma_scaled
