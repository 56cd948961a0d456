"""Every solver on equations whose root is known in closed form."""

from __future__ import annotations

import pytest
import torch

from augment.diffusion import (
    AffineStep,
    Denoiser,
    Level,
    ddim,
    guided,
    sample,
)
from augment.inversion import (
    DDIM,
    RNRI,
    SOLVERS,
    Anderson,
    AndersonPrior,
    FixedPoint,
    PlainNewton,
    RNRIReleased,
    Status,
    StepEquation,
    Stop,
    invert,
    make_solver,
    solve,
)
from augment.inversion.equation import rms
from augment.inversion.rnri import newton_raphson_update
from tests.problems import (
    NOISY_STEP,
    SHAPE,
    STEP,
    LinearProblem,
    latents,
    nonlinear_denoiser,
)

ONE_ELEMENT = (1, 1, 1)
ALL = [make_solver(name) for name in SOLVERS]


def name_of(solver):
    return type(solver).__name__


def relative_error(z, root):
    return float(torch.linalg.vector_norm(z - root) / torch.linalg.vector_norm(root))


@pytest.mark.parametrize("step", [STEP, NOISY_STEP], ids=["deterministic", "with_noise"])
@pytest.mark.parametrize(
    ("solver", "iterations", "shape"),
    [
        (FixedPoint(), 60, SHAPE),
        (AndersonPrior(), 12, SHAPE),
        (AndersonPrior(prior_weight=0.0), 12, SHAPE),
        # One unknown: the scalar Newton-Raphson iteration is exact for an affine equation
        (RNRI(prior_weight=0.0, eta=0.0), 2, ONE_ELEMENT),
        (RNRIReleased(prior_weight=0.0), 60, ONE_ELEMENT),
    ],
    ids=lambda v: name_of(v) if not isinstance(v, int | tuple) else None,
)
def test_root_of_a_linear_denoiser(solver, iterations, shape, step):
    problem = LinearProblem.random(0, norm=1.0, shape=shape)
    after, noise = latents(4, shape=shape), latents(4, seed=5, shape=shape)
    noise = None if step.c == 0 else noise
    eq = StepEquation(problem.denoiser(), step, after, noise)
    solution = solve(eq, solver, after, iterations, tolerance=0.0)
    assert relative_error(solution.z, problem.root(step, after, noise)) < 1e-5


def test_ddim_inversion_is_one_evaluation_at_the_cleaner_latents():
    problem = LinearProblem.random(0, norm=1.0)
    after = latents(2)
    eq = StepEquation(problem.denoiser(), STEP, after)
    solution = solve(eq, DDIM(), after, 10, 0.0)
    expected = (after - STEP.b * problem.denoiser()(after, torch.zeros(2))) / STEP.a
    torch.testing.assert_close(solution.z, expected)
    assert solution.forward.tolist() == [1, 1]


def test_anderson_solves_an_equation_on_which_fixed_point_diverges():
    problem = LinearProblem.random(1, norm=4.0)  # spectral radius of J above 1
    after = latents(3)
    eq = StepEquation(problem.denoiser(), STEP, after)
    fixed = solve(eq, FixedPoint(), after, 40, 0.0)
    secant = Anderson(memory=12)
    eq = StepEquation(problem.denoiser(), STEP, after)
    assert relative_error(solve(eq, secant, after, 40, 0.0).z, problem.root(STEP, after)) < 1e-3
    assert relative_error(fixed.z, problem.root(STEP, after)) > 0.5
    assert set(fixed.status.tolist()) <= {Status.DIVERGED, Status.NON_FINITE}


def test_rnri_update_is_equation_9_of_the_paper_on_numbers_by_hand():
    # D = 2, F = 4, g = (1, -2), eta = 0.5: z - (4 / 2) / (1.5, -1.5)
    z = torch.tensor([[[[1.0, 1.0]]]])
    g = torch.tensor([[[[1.0, -2.0]]]])
    updated = newton_raphson_update(z, torch.tensor([4.0]), g, 0.5)
    torch.testing.assert_close(updated, torch.tensor([[[[1 - 4 / 3, 1 + 4 / 3]]]]))


def test_rnri_gradient_passes_through_the_denoiser_and_counts_it():
    problem = LinearProblem.random(2, norm=1.0)
    after = latents(2)
    eq = StepEquation(problem.denoiser(), STEP, after)
    solver = RNRI(prior_weight=0.3)
    found, _ = solver.step(eq, after, solver.init(eq, after))
    # By hand: F = |A z - k|_1 + lambda G with A = I + b/a M, so g = A^T sign(A z - k) + lambda (z - mu) / beta
    flat = after.flatten(1)
    a = torch.eye(flat.shape[1]) + STEP.b / STEP.a * problem.matrix
    r = flat @ a.T - (flat - STEP.b * problem.offset) / STEP.a
    mu, beta = 0.8 * flat, 0.36  # s/s' z' and v^2 - (s v'/s')^2, of the levels of STEP
    objective = r.abs().sum(1) + 0.3 * (flat - mu).square().sum(1) / (2 * beta)
    g = r.sign() @ a + 0.3 * (flat - mu) / beta
    expected = flat - objective[:, None] / flat.shape[1] / (g + solver.eta)
    torch.testing.assert_close(found.z.flatten(1), expected, rtol=1e-4, atol=1e-4)
    assert (eq.cost.forward, eq.cost.vjp) == (1, 1)


def test_released_step_has_one_size_per_sample():
    eq = StepEquation(LinearProblem.random(2, norm=1.0).denoiser(), STEP, latents(3))
    solver = RNRIReleased()
    found, _ = solver.step(eq, eq.after, solver.init(eq, eq.after))
    sizes = (found.z - eq.after).abs().flatten(1)
    torch.testing.assert_close(sizes, sizes[:, :1].expand_as(sizes), rtol=1e-4, atol=1e-5)
    assert eq.cost.vjp == 0


def test_released_leaves_an_element_that_fits_where_it_is():
    fits = torch.tensor([[[[True, False]]]])
    z = torch.tensor([[[[1.0, 2.0]]]])
    eq = StepEquation(Denoiser(lambda z, t: torch.where(fits, (STEP.a * z - z) / -STEP.b, 0.0)), STEP, z)
    solver = RNRIReleased(prior_weight=0.0)
    found, _ = solver.step(eq, z, solver.init(eq, z))
    assert torch.isfinite(found.z).all()
    torch.testing.assert_close(found.z != z, ~fits)


def test_the_prior_vanishes_at_a_solution():
    problem = LinearProblem.random(0, norm=1.0)
    after = latents(2)
    root = problem.root(STEP, after)
    solver = AndersonPrior(prior_weight=100.0)
    eq = StepEquation(problem.denoiser(), STEP, after)
    _, state = solver.step(eq, root + 0.1, solver.init(eq, root))
    found, _ = solver.step(eq, root, state)
    assert relative_error(found.answer, root) < 1e-5


@pytest.mark.parametrize("solver", ALL, ids=name_of)
def test_a_batch_equals_its_samples_one_by_one(solver):
    denoiser, clean = nonlinear_denoiser(), latents(7, seed=4)
    schedule = ddim(torch.linspace(0.999, 0.01, 1000), 6)
    stop = Stop(max_steps=3, first_max_steps=6, tolerance=3e-3)
    together = invert(denoiser, clean, schedule, solver, stop)
    for i in range(7):
        index = torch.tensor([i])
        alone = invert(denoiser.select(index), clean[index], schedule, solver, stop)
        assert relative_error(together.latents[index], alone.latents) < 1e-5
        assert together.forward[i] == alone.forward[0]
        assert together.status[i] == alone.status[0]
    if not isinstance(solver, DDIM | RNRI | RNRIReleased | PlainNewton):
        assert len(set(together.forward.tolist())) > 1, "the tolerance should end samples at different times"


@pytest.mark.parametrize("solver", [FixedPoint(), Anderson()], ids=name_of)
def test_sampling_back_from_a_converged_inversion_returns_the_latents(solver):
    denoiser, clean = nonlinear_denoiser(), latents(7, seed=4)
    schedule = ddim(torch.linspace(0.999, 0.05, 1000), 8)
    inversion = invert(denoiser, clean, schedule, solver, Stop(max_steps=60, tolerance=1e-6))
    assert relative_error(sample(denoiser, inversion.latents, schedule), clean) < 1e-3
    assert inversion.status.tolist() == [Status.CONVERGED] * 7
    assert (inversion.error <= 1e-6).all()


def test_evaluations_are_counted_per_sample_and_step():
    schedule = ddim(torch.linspace(0.999, 0.05, 1000), 5)
    inversion = invert(
        nonlinear_denoiser(), latents(7), schedule, Anderson(), Stop(max_steps=1, first_max_steps=8, tolerance=0.0)
    )
    assert inversion.forward.tolist() == [8 + 4] * 7
    assert inversion.evaluations_per_step.tolist() == pytest.approx([12 / 5] * 7)
    published = invert(nonlinear_denoiser(), latents(7), schedule, RNRI(), Stop(max_steps=2, tolerance=0.0))
    assert published.forward.tolist() == published.vjp.tolist() == [10] * 7


def test_guidance_is_counted_as_the_two_evaluations_it_is():
    def predict(z, t, condition):
        return torch.tanh(z + condition.view(-1, 1, 1, 1))

    schedule = ddim(torch.linspace(0.999, 0.05, 1000), 5)
    for scale, cost in ((1.0, 1), (2.0, 2)):
        denoiser = guided(predict, (torch.ones(7),), (torch.zeros(7),), scale)
        inversion = invert(denoiser, latents(7), schedule, RNRI(), Stop(max_steps=2, tolerance=0.0))
        assert inversion.forward.tolist() == inversion.vjp.tolist() == [10 * cost] * 7


@pytest.mark.parametrize("solver", ALL, ids=name_of)
def test_a_converged_sample_has_an_error_below_the_tolerance(solver):
    schedule = ddim(torch.linspace(0.999, 0.05, 1000), 3)
    found = []
    stop = Stop(max_steps=40, tolerance=0.02)
    invert(nonlinear_denoiser(), latents(7), schedule, solver, stop, callback=lambda i, s: found.append(s))
    for solution in found:
        converged = solution.status == Status.CONVERGED
        assert (solution.error[converged] <= 0.02).all()
        assert torch.isfinite(solution.residual).all()


def test_an_update_that_overflows_after_the_last_iteration_is_not_held_against_the_answer():
    def solved(iterations):
        eq = StepEquation(Denoiser(lambda z, t: z * STEP.a / -STEP.b), STEP, latents(2))  # the residual is z' / a
        return solve(eq, PlainNewton(), eq.after, iterations, 0.0)  # and its gradient 0

    assert solved(1).status.tolist() == [Status.MAX_STEPS] * 2
    assert solved(2).status.tolist() == [Status.NON_FINITE] * 2
    torch.testing.assert_close(solved(2).z, solved(1).z)


@pytest.mark.parametrize("solver", ALL, ids=name_of)
def test_nan_from_the_network_costs_that_sample_only(solver):
    clean = latents(7, seed=4)

    def predict(z, t, condition, bad):
        healthy = nonlinear_denoiser().predict(z, t, condition)
        return torch.where(bad.view(-1, 1, 1, 1), torch.nan, healthy)

    conditions = nonlinear_denoiser().conditions
    bad = torch.tensor([False, True, False, False, False, False, False])
    schedule = ddim(torch.linspace(0.999, 0.05, 1000), 4)
    stop = Stop(max_steps=3, tolerance=0.0)
    inversion = invert(Denoiser(predict, (*conditions, bad)), clean, schedule, solver, stop)
    healthy = invert(nonlinear_denoiser(), clean, schedule, solver, stop)
    assert inversion.status[1] == Status.NON_FINITE
    others = torch.tensor([0, 2, 3, 4, 5, 6])
    torch.testing.assert_close(inversion.latents[others], healthy.latents[others], rtol=1e-5, atol=1e-6)
    assert torch.isfinite(inversion.latents).all()


def test_the_best_iterate_is_kept_when_the_last_is_worse():
    problem = LinearProblem.random(1, norm=4.0)
    after = latents(3)
    few = solve(StepEquation(problem.denoiser(), STEP, after), FixedPoint(), after, 1, 0.0)
    many = solve(StepEquation(problem.denoiser(), STEP, after), FixedPoint(), after, 30, 0.0)
    assert (many.residual <= few.residual).all()


def test_residual_is_measured_in_root_mean_square():
    assert rms(torch.full((2, 3, 4, 5), -2.0)).tolist() == [2.0, 2.0]


def test_the_error_is_what_sampling_a_step_misses_over_the_root_of_its_image():
    step = AffineStep(timestep=500.0, a=1.2, b=-0.6, c=0.3, start=Level(0.6, 0.8), end=Level(0.75, 0.5))
    denoiser, after, noise, z = nonlinear_denoiser(), latents(7), latents(7, seed=5), latents(7, seed=6)
    eq = StepEquation(denoiser, step, after, noise)
    eps = eq.eps(z)
    missed = rms(step.apply(z, eps, noise) - after) / 0.75**0.5
    torch.testing.assert_close(eq.error(rms(z - eq.f_of_eps(eps))), missed)


def test_a_batch_waits_for_its_slowest_sample_and_pays_for_each():
    schedule = ddim(torch.linspace(0.999, 0.01, 1000), 6)
    inversion = invert(nonlinear_denoiser(), latents(7, seed=4), schedule, Anderson(), Stop(tolerance=3e-3))
    assert len(set(inversion.forward.tolist())) > 1
    assert inversion.rows == int(inversion.forward.sum())
    assert int(inversion.forward.max()) <= inversion.calls < inversion.rows


def test_a_guided_call_is_one_call_of_two_rows_per_sample():
    schedule = ddim(torch.linspace(0.999, 0.05, 1000), 5)
    denoiser = guided(lambda z, t, condition: torch.tanh(z), (torch.ones(7),), (torch.zeros(7),), 2.0)
    inversion = invert(denoiser, latents(7), schedule, RNRI(), Stop(max_steps=2, tolerance=0.0))
    assert inversion.calls == 5 * 2 * 2  # a forward and a backward pass in each of two iterations
    assert inversion.rows == inversion.calls * 2 * 7
