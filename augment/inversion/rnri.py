"""RNRI exactly as published (Samuel et al. 2025, "Lightning-Fast Image Inversion and Editing", ICLR)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from augment.inversion.equation import StepEquation, rms
from augment.inversion.solver import Iteration, Solver, State


@dataclass(frozen=True)
class RNRI(Solver):
    """Scalar Newton-Raphson on F(z) = |z - f(z)|_1 + lambda G(z), G = |z - mu|^2 / (2 beta), started at z'.

        z_i <- z_i - (1/D) F(z) / (g_i + eta),    g = dF/dz by autograd through the denoiser

    F has no root when G > 0 and the division is unbounded where g_i is near -eta, so the iterate with the least F is
    kept, per sample, and f of it is the answer, as in the authors' code. K iterations evaluate F and g at K iterates,
    the first of which is z'.

    Attributes:
        prior_weight: lambda.
        eta: added to the gradient's elements before the division.
    """

    prior_weight: float = 0.1
    eta: float = 0.1

    def init(self, eq: StepEquation, z: Tensor) -> State:
        return State()

    def step(self, eq: StepEquation, z: Tensor, state: State) -> tuple[Iteration, State]:
        with torch.enable_grad():
            z = z.detach().requires_grad_(True)
            eps = eq.eps(z)
            f = eq.f_of_eps(eps)
            objective = (z - f).abs().sum(dim=(1, 2, 3)) + self.prior_weight * eq.prior(z)
            g = eq.gradient(objective, z)
        z, f, eps, objective = z.detach(), f.detach(), eps.detach(), objective.detach()
        following = newton_raphson_update(z, objective, g, self.eta)
        return Iteration(z=following, answer=f, eps=eps, residual=rms(z - f), merit=objective), state


def newton_raphson_update(z: Tensor, objective: Tensor, g: Tensor, eta: float) -> Tensor:
    """z_i - (1/D) F / (g_i + eta), with D the number of elements of a sample."""
    dimensions = z[0].numel()
    return z - objective.view(-1, 1, 1, 1) / dimensions / (g + eta)
