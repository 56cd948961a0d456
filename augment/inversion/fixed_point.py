"""Fixed-point inversion (Pan et al. 2023, AIDI, without its acceleration)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from augment.inversion.equation import StepEquation, rms
from augment.inversion.solver import Iteration, Solver, State


@dataclass(frozen=True)
class FixedPoint(Solver):
    """z <- f(z), started at z'. Converges where f is a contraction, at a linear rate."""

    def init(self, eq: StepEquation, z: Tensor) -> State:
        return State()

    @torch.no_grad()
    def step(self, eq: StepEquation, z: Tensor, state: State) -> tuple[Iteration, State]:
        eps = eq.eps(z)
        f = eq.f_of_eps(eps)
        residual = rms(z - f)
        return Iteration(z=f, answer=f, eps=eps, residual=residual, merit=residual), state
