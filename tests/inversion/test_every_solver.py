"""What holds for every solver by name: costs, guidance, degenerate images, and a real pipeline at toy size."""

from __future__ import annotations

import itertools
import pickle

import pytest
import torch

from augment.diffusion import (
    Denoiser,
    ddim,
    guided,
    sample,
)
from augment.inversion import (
    SOLVERS,
    NewtonKrylov,
    Status,
    StepEquation,
    Stop,
    invert,
    make_solver,
    solve,
)
from augment.inversion.settings import NEED_TWO_ITERATIONS, solver_warnings
from augment.models.stable_diffusion import StableDiffusion
from tests.pipelines import stable_diffusion
from tests.problems import STEP, latents, nonlinear_denoiser
from tests.variants import variants

# network forwards, Jacobian-vector and vector-Jacobian products of one iteration
COST = {
    "ddim": (1, 0, 0),
    "fixed_point": (1, 0, 0),
    "anderson": (1, 0, 0),
    "anderson_prior": (1, 0, 0),
    "renoise": (1, 0, 0),
    "forward_step": (1, 0, 0),
    "gradient_descent": (1, 0, 1),
    "plain_newton": (1, 0, 1),
    "newton_krylov": (1, 3, 0),
    "rnri": (1, 0, 1),
    "rnri_released": (1, 0, 0),
}
# with the iterations that bring every residual of the equations below under 1e-5
CONVERGING = {
    "fixed_point": 60,
    "anderson": 30,
    "anderson_prior": 30,
    "renoise": 60,
    "forward_step": 120,
    "gradient_descent": 300,
    "newton_krylov": 10,
}


def guided_denoiser(scale):
    """Contractions with and without a condition, 3 samples."""

    def predict(z, t, condition):
        return 0.3 * torch.tanh(z + condition.view(-1, 1, 1, 1))

    return guided(predict, (torch.tensor([0.5, 1.0, -1.0]),), (torch.zeros(3),), scale)


def test_which_methods_pay_for_a_derivative_that_one_iteration_does_not_use():
    def answer(name):
        return solve(StepEquation(nonlinear_denoiser(), STEP, latents(7)), make_solver(name), latents(7), 1, 0.0).z

    same = {name for name in SOLVERS if torch.equal(answer(name), answer("ddim"))}
    assert {name for name in same if COST[name] != (1, 0, 0)} == NEED_TWO_ITERATIONS
    for name in SOLVERS:
        told = [solver_warnings(make_solver(name), Stop(max_steps=n)) for n in (1, 2)]
        assert [len(lines) for lines in told] == [name in NEED_TWO_ITERATIONS, 0]


@pytest.mark.parametrize("name", SOLVERS)
@pytest.mark.parametrize(("scale", "passes"), [(1.0, 1), (2.0, 2)])
def test_evaluations_are_counted(name, scale, passes):
    schedule = ddim(torch.linspace(0.999, 0.05, 1000), 4)
    inversion = invert(
        guided_denoiser(scale), latents(3), schedule, make_solver(name), Stop(max_steps=3, tolerance=0.0)
    )
    iterations = 4 if name == "ddim" else 12
    expected = torch.tensor(COST[name]) * iterations * passes
    assert inversion.iterations.tolist() == [iterations] * 3
    assert [inversion.forward.tolist(), inversion.jvp.tolist(), inversion.vjp.tolist()] == [[n] * 3 for n in expected]


def test_the_dimension_of_the_krylov_space_is_what_newton_krylov_costs():
    eq = StepEquation(nonlinear_denoiser(), STEP, latents(7))
    solution = solve(eq, NewtonKrylov(krylov_dim=5), eq.after, 2, 0.0)
    assert (solution.forward.tolist(), solution.jvp.tolist()) == ([2] * 7, [10] * 7)


@pytest.mark.parametrize("name", CONVERGING)
def test_inversion_with_guidance_samples_back(name):
    schedule = ddim(torch.linspace(0.999, 0.05, 1000), 6)
    denoiser, clean = guided_denoiser(2.0), latents(3, seed=4)
    inversion = invert(denoiser, clean, schedule, make_solver(name), Stop(max_steps=CONVERGING[name], tolerance=1e-5))
    assert inversion.status.tolist() == [Status.CONVERGED] * 3
    torch.testing.assert_close(sample(denoiser, inversion.latents, schedule), clean, rtol=0, atol=1e-3)


@pytest.mark.parametrize("name", SOLVERS)
@pytest.mark.parametrize("value", [0.0, 0.7])
def test_flat_images(name, value):
    clean = torch.full((7, 3, 2, 2), value)
    schedule = ddim(torch.linspace(0.999, 0.05, 1000), 4)
    inversion = invert(nonlinear_denoiser(), clean, schedule, make_solver(name), Stop(max_steps=4, tolerance=0.0))
    assert torch.isfinite(inversion.latents).all()
    assert torch.isfinite(inversion.residual).all()


@pytest.mark.parametrize("name", SOLVERS)
@pytest.mark.parametrize("iterations", [1, 4])
def test_a_network_that_answers_zero(name, iterations):
    """f is constant: the first iterate after z' is exact, and for the zero image z' is, with a residual of 0."""
    eq = StepEquation(Denoiser(lambda z, t: 0.0 * z), STEP, torch.stack([torch.zeros(3, 2, 2), torch.ones(3, 2, 2)]))
    solution = solve(eq, make_solver(name), eq.after, iterations, 0.0)
    assert solution.status[0] == Status.CONVERGED
    assert solution.iterations[0] == 1
    torch.testing.assert_close(solution.z, eq.after / STEP.a, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", SOLVERS)
def test_solvers_travel_to_workers(name):
    assert pickle.loads(pickle.dumps(make_solver(name))) == make_solver(name)


# ---------------------------------------------------------------------------------------------------------------------
PROMPTS = ["a picture of a fox", "an owl"]


@pytest.fixture(scope="module")
def model():
    return StableDiffusion(stable_diffusion(timestep_spacing="trailing"), model_id="toy", revision="")


def noise():
    return torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize(
    ("name", "guidance_scale"),
    variants(
        itertools.product(CONVERGING, (1.0, 2.0)),
        kept=[(name, scale) for name in CONVERGING for scale in (1.0, 2.0) if (name, scale) != ("newton_krylov", 2.0)],
    ),
)
def test_a_picture_the_pipeline_made_is_found_again(model, name, guidance_scale):
    denoiser, schedule = model.denoiser(model.embed(PROMPTS), guidance_scale), model.schedule(4, "ddim")
    clean = sample(denoiser, noise(), schedule)
    inversion = invert(denoiser, clean, schedule, make_solver(name), Stop(max_steps=CONVERGING[name], tolerance=1e-5))
    assert inversion.status.tolist() == [Status.CONVERGED] * 2
    torch.testing.assert_close(sample(denoiser, inversion.latents, schedule), clean, rtol=0, atol=1e-3)


def test_the_directional_derivative_passes_through_the_networks_attention(model):
    step = model.schedule(6, "ddim").steps[2]
    z, direction = noise(), latents(2, seed=1, shape=(4, 8, 8))
    eq = StepEquation(model.denoiser(model.embed(PROMPTS), 2.0), step, z)
    with torch.no_grad():
        difference = (eq.f_of_eps(eq.eps(z + 1e-2 * direction)) - eq.f_of_eps(eq.eps(z - 1e-2 * direction))) / 2e-2
    eq.eps(z)
    found = eq.directional(z, direction)
    assert torch.linalg.vector_norm(found - difference) < 5e-3 * torch.linalg.vector_norm(difference)
