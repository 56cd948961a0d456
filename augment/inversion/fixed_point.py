"""Fixed-point inversion (Pan et al. 2023, AIDI, without its acceleration)."""

from __future__ import annotations

import torch
from torch import Tensor

from augment.inversion.equation import StepEquation, rms
from augment.inversion.settings import FixedPointSettings
from augment.inversion.solver import Iteration, Solver, State


class FixedPoint(FixedPointSettings, Solver):
    """Iterate z <- f(z). Converges where f is a contraction, at a linear rate; one iteration is one evaluation."""

    def init(self, eq: StepEquation, z: Tensor) -> State:
        return State()

    @torch.no_grad()
    def step(self, eq: StepEquation, z: Tensor, state: State) -> tuple[Iteration, State]:
        return evaluated(eq, z), state


def evaluated(eq: StepEquation, z: Tensor) -> Iteration:
    """Return the iteration whose next iterate and answer is f(z): one evaluation."""
    eps = eq.eps(z)
    f = eq.f_of_eps(eps)
    residual = rms(z - f)
    return Iteration(z=f, answer=f, eps=eps, residual=residual, merit=residual)
