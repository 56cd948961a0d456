"""Every method against its paper's algorithm, written out apart from it, on a small nonlinear network."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from augment.diffusion import Denoiser, ddim, euler_ancestral
from augment.inversion import SOLVERS, Stop, edit_friendly, invert, make_solver
from tests.inversion import golden
from tests.inversion.golden import CLEAN, TIMES, Network, walk

TABLE = torch.tensor([golden.alpha(t) for t in range(1000)], dtype=torch.float64)

# (solver, its settings, iterations, the transcription)
METHODS = [
    ("ddim", {}, 1, partial(walk, one_step=golden.ddim)),
    ("fixed_point", {}, 4, partial(walk, one_step=golden.fixed_point, iterations=4)),
    ("anderson", {"memory": 3}, 5, partial(walk, one_step=golden.anderson, iterations=5, m=3)),  # AIDI's settings
    ("anderson", {"memory": 1}, 4, partial(walk, one_step=golden.anderson, iterations=4, m=1)),
    (
        "anderson_prior",
        {"memory": 2, "prior_weight": 0.5},
        3,
        partial(walk, one_step=golden.anderson_prior, iterations=3, m=2, prior_weight=0.5),
    ),
    ("renoise", {"window": 2}, 4, partial(walk, one_step=golden.renoise, iterations=4, window=2)),
    ("renoise", {"window": 3}, 5, partial(walk, one_step=golden.renoise, iterations=5, window=3)),
    ("forward_step", {"step_size": 0.5}, 5, partial(walk, one_step=golden.forward_step, iterations=5, rho=0.5)),
    ("gradient_descent", {"step_size": 0.4}, 4, partial(walk, one_step=golden.gradient_descent, iterations=4, rho=0.4)),
    ("plain_newton", {}, 2, partial(walk, one_step=golden.plain_newton, iterations=2)),
    ("newton_krylov", {"krylov_dim": 3}, 2, partial(walk, one_step=golden.newton_krylov, iterations=2, dimension=3)),
    ("rnri", {}, 3, partial(walk, one_step=golden.rnri, iterations=3, prior_weight=0.1, eta=0.1)),
    (
        "rnri",
        {"prior_weight": 0.02, "eta": 0.5},
        2,
        partial(walk, one_step=golden.rnri, iterations=2, prior_weight=0.02, eta=0.5),
    ),
    ("rnri_released", {}, 2, partial(golden.rnri_released, iterations=2, prior_weight=0.1)),
    ("rnri_released", {"prior_weight": 0.4}, 4, partial(golden.rnri_released, iterations=4, prior_weight=0.4)),
]


def network_as_denoiser(dtype):
    net = Network(dtype)
    return net, Denoiser(lambda z, t: net(z, t.view(-1, 1, 1, 1)))


def ours(name, settings, iterations):
    net, denoiser = network_as_denoiser(torch.float32)
    schedule = ddim(TABLE, 4)
    assert [step.timestep for step in reversed(schedule.steps)] == list(TIMES)
    stop = Stop(max_steps=iterations, tolerance=0.0)
    found = invert(denoiser, CLEAN, schedule, make_solver(name, **settings), stop, warm_start="none")
    return found.latents, net.asked


def identifier(value):
    return value if isinstance(value, str) else ",".join(f"{k}={v}" for k, v in value.items()) if value else ""


def distance(found, expected):
    return float(torch.linalg.vector_norm(found.double() - expected) / torch.linalg.vector_norm(expected))


@pytest.mark.parametrize(("name", "settings", "iterations", "transcription"), METHODS)
def test_the_method_is_its_papers_algorithm(name, settings, iterations, transcription):
    latents, asked = ours(name, settings, iterations)
    net = Network(torch.float64)
    expected = transcription(net)
    assert distance(latents, expected) < 1e-4
    if name == "newton_krylov":  # the transcription asks for a dense Jacobian
        return
    assert len(asked) == len(net.asked) == len(TIMES) * iterations
    for ours_, theirs in zip(asked, net.asked, strict=True):
        assert distance(ours_, theirs) < 1e-3


def test_every_method_is_here():
    assert {name for name, *_ in METHODS} == set(SOLVERS)


def test_the_network_is_nonlinear_enough_to_tell_the_methods_apart():
    ends = [transcription(Network(torch.float64)) for *_, transcription in METHODS]
    gaps = [distance(a, b) for i, a in enumerate(ends) for b in ends[:i]]
    assert min(gaps) > 1e-4


def test_noise_maps_are_the_papers():
    noise = [torch.randn(1, *golden.SHAPE, generator=torch.Generator().manual_seed(i)).double() for i in range(4)]
    net, denoiser = network_as_denoiser(torch.float32)
    schedule = euler_ancestral(TABLE, 4)
    start, maps = edit_friendly(denoiser, CLEAN, schedule, [n.float() for n in reversed(noise)])
    expected_start, expected = golden.edit_friendly(Network(torch.float64), noise)
    assert distance(start, expected_start) < 1e-5
    for step, found in zip(schedule.steps[:-1], maps[:-1], strict=True):
        assert distance(found, expected[int(step.timestep)]) < 1e-3
    assert len(net.asked) == 4
