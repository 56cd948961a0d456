"""RNRI as the authors' released code computes it: the gradient does not pass through the denoiser."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from augment.inversion.equation import StepEquation, rms
from augment.inversion.rnri import newton_raphson_update
from augment.inversion.solver import Iteration, Solver, State


@dataclass(frozen=True)
class RNRIReleased(Solver):
    """The update of `RNRI` with f held constant and without the prior's gradient: g = -sign(f(z) - z).

    That makes it a step of one common size per sample along a sign vector. The released code sums F and picks the
    best iterate over the whole batch; here both are per sample.

    Attributes:
        prior_weight: lambda, in the value of F only.
        eta: added to the gradient's elements before the division.
    """

    prior_weight: float = 0.1
    eta: float = 1e-2

    def init(self, eq: StepEquation, z: Tensor) -> State:
        return State()

    @torch.no_grad()
    def step(self, eq: StepEquation, z: Tensor, state: State) -> tuple[Iteration, State]:
        eps = eq.eps(z)
        f = eq.f_of_eps(eps)
        objective = (z - f).abs().sum(dim=(1, 2, 3)) + self.prior_weight * eq.prior(z)
        following = newton_raphson_update(z, objective, -(f - z).sign(), self.eta)
        return Iteration(z=following, answer=f, eps=eps, residual=rms(z - f), merit=objective), state
