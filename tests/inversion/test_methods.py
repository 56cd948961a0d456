"""What each published method does, on numbers by hand and on equations whose root is known."""

from __future__ import annotations

import pytest
import torch

from augment.diffusion import CLEAN, AffineStep, Denoiser, Level
from augment.inversion import (
    RNRI,
    Anderson,
    FixedPoint,
    ForwardStep,
    GradientDescent,
    NewtonKrylov,
    PlainNewton,
    ReNoise,
    Status,
    StepEquation,
    solve,
)
from augment.inversion.equation import rms
from tests.problems import (
    NOISY_STEP,
    SHAPE,
    STEP,
    LinearProblem,
    latents,
)

ONE_ELEMENT = (1, 1, 1)
FOUR_ELEMENTS = (1, 2, 2)


def name_of(value):
    return None if isinstance(value, int | tuple) else type(value).__name__


def relative_error(z, root):
    return float(torch.linalg.vector_norm(z - root) / torch.linalg.vector_norm(root))


def scalar_equation(a, b, after, predict=lambda z: z):
    """z = (after - b eps(z)) / a in one unknown."""
    step = AffineStep(timestep=0.0, a=a, b=b, c=0.0, start=Level(0.8, 0.6), end=CLEAN)
    return StepEquation(Denoiser(lambda z, t: predict(z)), step, torch.full((1, 1, 1, 1), after))


def iterates(solver, eq, count):
    """The points a solver evaluates, as numbers, for an equation in one unknown."""
    z, state, visited = eq.after, solver.init(eq, eq.after), []
    for _ in range(count):
        visited.append(float(z))
        found, state = solver.step(eq, z, state)
        z = found.z
    return visited


@pytest.mark.parametrize("step", [STEP, NOISY_STEP], ids=["deterministic", "with_noise"])
@pytest.mark.parametrize(
    ("solver", "iterations", "shape"),
    [
        (Anderson(), 12, SHAPE),
        (ReNoise(), 40, SHAPE),
        (ForwardStep(), 60, SHAPE),
        (GradientDescent(), 100, SHAPE),
        (NewtonKrylov(), 4, SHAPE),
        (PlainNewton(), 2, ONE_ELEMENT),
    ],
    ids=name_of,
)
def test_root_of_a_linear_denoiser(solver, iterations, shape, step):
    problem = LinearProblem.random(0, norm=1.0, shape=shape)
    after, noise = latents(4, shape=shape), latents(4, seed=5, shape=shape)
    noise = None if step.c == 0 else noise
    eq = StepEquation(problem.denoiser(), step, after, noise)
    solution = solve(eq, solver, after, iterations, tolerance=0.0)
    assert relative_error(solution.z, problem.root(step, after, noise)) < 1e-5


@pytest.mark.parametrize("solver", [Anderson(), ForwardStep(), GradientDescent(), ReNoise()], ids=name_of)
def test_the_first_iteration_is_ddim_inversion(solver):
    eq = StepEquation(LinearProblem.random(0, norm=4.0).denoiser(), STEP, latents(3))
    ddim_inversion = (eq.after - STEP.b * eq.eps(eq.after)) / STEP.a
    torch.testing.assert_close(solve(eq, solver, eq.after, 1, 0.0).z, ddim_inversion)


def test_anderson_ends_after_as_many_differences_as_unknowns():
    problem = LinearProblem.random(3, norm=3.0, shape=FOUR_ELEMENTS)
    after = latents(3, shape=FOUR_ELEMENTS)

    def error(solver, iterations):
        eq = StepEquation(problem.denoiser(), STEP, after)
        return relative_error(solve(eq, solver, after, iterations, 0.0).z, problem.root(STEP, after))

    assert error(Anderson(memory=4), 5) < 1e-4
    assert error(Anderson(memory=4), 4) > 5e-3
    assert error(Anderson(memory=1), 5) > 5e-3


def test_anderson_equals_its_constrained_form():
    """x_{k+1} = sum alpha_i g(x_i), alpha = argmin |sum alpha_i f_i| with sum alpha_i = 1."""
    problem, after = LinearProblem.random(1, norm=2.0), latents(1)
    eq = StepEquation(problem.denoiser(), STEP, after)
    solver, z = Anderson(memory=2, ridge=1e-12), after
    state = solver.init(eq, z)
    xs, gs = [], []
    for _ in range(6):
        xs.append(z.flatten().double())
        gs.append(eq.f_of_eps(eq.eps(z)).flatten().double())
        window = torch.stack(gs[-3:]) - torch.stack(xs[-3:])  # (k, D)
        alpha = torch.linalg.solve(window @ window.T, torch.ones(len(window), dtype=torch.float64))
        expected = (alpha / alpha.sum()) @ torch.stack(gs[-3:])
        found, state = solver.step(eq, z, state)
        torch.testing.assert_close(found.z.flatten().double(), expected, rtol=1e-3, atol=1e-4)
        z = found.z


def test_anderson_survives_differences_that_vanish():
    eq = StepEquation(Denoiser(lambda z, t: torch.ones_like(z)), STEP, latents(2))
    solution = solve(eq, Anderson(), eq.after, 6, tolerance=-1.0)  # goes on at a residual of 0
    torch.testing.assert_close(solution.z, (eq.after - STEP.b) / STEP.a)
    assert solution.status.tolist() == [Status.MAX_STEPS] * 2


def test_forward_step_retraces_by_hand():
    # f(z) = 4 - 3 z, z' = 4: the residual is 12 at 4 and 36 at f(4) = -8; back to 4, and 4 + (-8 - 4) / 4 is the root
    assert iterates(ForwardStep(step_size=0.5), scalar_equation(1.0, 3.0, 4.0), 4) == [4.0, -8.0, 1.0, 1.0]
    assert iterates(FixedPoint(), scalar_equation(1.0, 3.0, 4.0), 4) == [4.0, -8.0, 28.0, -80.0]


def test_a_retraced_iteration_reports_the_iterate_it_went_back_to():
    eq, solver = scalar_equation(1.0, 3.0, 4.0), ForwardStep()
    state = solver.init(eq, eq.after)
    first, state = solver.step(eq, eq.after, state)
    second, _ = solver.step(eq, first.z, state)
    assert [float(v) for v in (second.eps, second.residual, second.answer)] == [4.0, 12.0, 1.0]
    assert second.merit < first.merit  # its answer replaces -8, which was tried


def test_gradient_descent_steps_along_the_transposed_jacobian():
    problem, solver = LinearProblem.random(1, norm=1.0), GradientDescent(step_size=0.3)
    eq = StepEquation(problem.denoiser(), STEP, latents(2))
    first, state = solver.step(eq, eq.after, solver.init(eq, eq.after))
    second, _ = solver.step(eq, first.z, state)
    # By hand: z - f(z) = A z - k with A = I + b/a M, so the gradient is A^T (A z - k)
    A = torch.eye(first.z[0].numel()) + STEP.b / STEP.a * problem.matrix
    k = (eq.after.flatten(1) - STEP.b * problem.offset) / STEP.a
    z = first.z.flatten(1)
    torch.testing.assert_close(second.z.flatten(1), z - 0.3 * (z @ A.T - k) @ A, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("step_size", [1.0, 50.0])
def test_gradient_descent_never_lets_a_residual_rise(step_size):
    problem, after = LinearProblem.random(1, norm=2.0), latents(5)
    eq = StepEquation(problem.denoiser(), STEP, after)
    solver, z = GradientDescent(step_size=step_size), after
    state = solver.init(eq, z)
    best, tried = [], []
    for _ in range(80):
        tried.append(rms(z - eq.f_of_eps(eq.eps(z))))
        found, state = solver.step(eq, z, state)
        best.append(found.residual)
        torch.testing.assert_close(found.residual, torch.stack(tried).amin(dim=0), rtol=1e-4, atol=1e-6)
        z = found.z
    assert (torch.stack(tried).diff(dim=0) > 0).any(), "some trial should have overshot"
    assert (best[-1] < 0.02 * best[0]).all()


@pytest.mark.parametrize(
    ("window", "iterations", "expected"),
    # f(z) = 4 - z / 2 from z' = 8 visits 8, 0, 4, 2, so its images are 0, 4, 2, 3 on the way to 8/3
    [(1, 4, 3.0), (2, 1, 0.0), (2, 2, 2.0), (2, 3, 3.0), (2, 4, 2.5), (3, 4, 3.0)],
)
def test_renoise_averages_the_last_iterates_by_hand(window, iterations, expected):
    eq = scalar_equation(2.0, 1.0, 8.0)
    assert float(solve(eq, ReNoise(window=window), eq.after, iterations, 0.0).z) == expected


def test_renoise_answers_the_middle_of_an_oscillation():
    eq = scalar_equation(1.0, 1.0, 4.0)  # f(z) = 4 - z: 4, 0, 4, 0, ... about 2
    for iterations in (2, 5):
        solution = solve(eq, ReNoise(), eq.after, iterations, 0.0)
        assert (float(solution.z), float(solution.eps)) == (2.0, 2.0)
        assert float(solution.residual) == 4.0  # of the iterate that was evaluated, not of the average


def test_renoise_keeps_an_early_average_where_fixed_point_diverges():
    problem, after = LinearProblem.random(1, norm=4.0), latents(3)
    root = problem.root(STEP, after)

    def error(iterations):
        eq = StepEquation(problem.denoiser(), STEP, after)
        return relative_error(solve(eq, ReNoise(), after, iterations, 0.0).z, root)

    assert error(150) <= error(1)


@pytest.mark.parametrize("krylov_dim", [12, 17])
def test_newton_krylov_solves_a_linear_problem_in_one_step_with_the_whole_space(krylov_dim):
    problem, after = LinearProblem.random(1, norm=4.0), latents(3)
    eq = StepEquation(problem.denoiser(), STEP, after)
    solution = solve(eq, NewtonKrylov(krylov_dim=krylov_dim), after, 1, 0.0)
    assert relative_error(solution.z, problem.root(STEP, after)) < 1e-5
    assert (solution.forward.tolist(), solution.jvp.tolist()) == ([1] * 3, [krylov_dim] * 3)
    again = solve(eq, NewtonKrylov(krylov_dim=krylov_dim), after, 2, tolerance=1e-4)
    assert again.status.tolist() == [Status.CONVERGED] * 3


def test_newton_krylov_minimises_the_linear_residual_over_the_krylov_space():
    problem, after = LinearProblem.random(1, norm=2.0), latents(2)
    eq = StepEquation(problem.denoiser(), STEP, after)
    z = solve(eq, NewtonKrylov(krylov_dim=3), after, 1, 0.0).z
    J = (torch.eye(12) + STEP.b / STEP.a * problem.matrix).double()
    r = (eq.f_of_eps(eq.eps(after)) - after).flatten(1).double()
    for i in range(2):
        space = torch.stack([r[i], J @ r[i], J @ J @ r[i]], dim=1)  # (D, 3)
        d = space @ torch.linalg.lstsq(J @ space, r[i]).solution
        torch.testing.assert_close((z - after)[i].flatten().double(), d, rtol=1e-4, atol=1e-5)


def test_newton_krylov_ends_at_a_space_that_one_vector_spans():
    eq = StepEquation(Denoiser(lambda z, t: torch.ones_like(z)), STEP, latents(2))  # J = I
    solution = solve(eq, NewtonKrylov(), eq.after, 1, 0.0)
    torch.testing.assert_close(solution.z, (eq.after - STEP.b) / STEP.a)


def test_newton_krylov_halves_a_step_that_overshoots_by_hand():
    # z - f(z) = atan z from 3: Newton's step leads to 3 - 10 atan 3 = -9.49, a half of it to -3.25, where |atan| is
    # larger than at 3; a quarter to -0.12
    eq = scalar_equation(1.0, -1.0, 3.0, lambda z: z - torch.atan(z) - 3.0)
    expected = [3.0, -9.4905, -3.2452, -0.1226]
    assert iterates(NewtonKrylov(), eq, 4) == pytest.approx(expected, abs=1e-3)
    solution = solve(eq, NewtonKrylov(), eq.after, 9, tolerance=1e-6)
    assert solution.status.tolist() == [Status.CONVERGED]
    assert abs(float(solution.z)) < 1e-6


def test_a_trial_outside_the_networks_domain_is_retraced():
    # log z + z - 0.5 is NaN at Newton's first trial from 3, which is negative
    eq = scalar_equation(1.0, -1.0, 3.0, lambda z: z - 4.0 * torch.log(z) - 3.0)
    solution = solve(eq, NewtonKrylov(), eq.after, 12, tolerance=1e-5)
    assert solution.status.tolist() == [Status.CONVERGED]
    assert float(solution.z) == pytest.approx(1.0, abs=1e-5)


def test_plain_newton_is_rnri_without_prior_and_offset():
    eq = StepEquation(LinearProblem.random(2, norm=1.0).denoiser(), STEP, latents(3))
    plain, _ = PlainNewton().step(eq, eq.after, PlainNewton().init(eq, eq.after))
    published = RNRI(prior_weight=0.0, eta=0.0)
    expected, _ = published.step(eq, eq.after, published.init(eq, eq.after))
    torch.testing.assert_close(plain.z, expected.z)
    torch.testing.assert_close(plain.merit, (eq.after - plain.answer).abs().sum(dim=(1, 2, 3)))


def test_plain_newton_ends_with_its_best_iterate_where_it_diverges():
    problem, after = LinearProblem.random(1, norm=2.0), latents(3)
    eq = StepEquation(problem.denoiser(), STEP, after)
    solution = solve(eq, PlainNewton(), after, 40, 0.0)
    assert set(solution.status.tolist()) <= {Status.DIVERGED, Status.NON_FINITE}
    first = solve(eq, PlainNewton(), after, 1, 0.0)
    assert torch.isfinite(solution.z).all()
    assert (solution.residual <= first.residual).all()


def test_plain_newton_divides_by_a_gradient_of_zero():
    # f(z) = z + z' - 4: the residual is the same everywhere
    eq = scalar_equation(1.0, -1.0, 3.0, lambda z: z - 4.0)
    solution = solve(eq, PlainNewton(), eq.after, 5, 0.0)
    assert solution.status.tolist() == [Status.NON_FINITE]
    assert (float(solution.z), solution.iterations.tolist()) == (2.0, [1])
