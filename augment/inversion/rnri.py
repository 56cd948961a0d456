"""RNRI (Samuel et al. 2025, "Lightning-Fast Image Inversion and Editing", ICLR): its update, answered with f."""

from __future__ import annotations

import torch
from torch import Tensor

from augment.inversion.equation import StepEquation, rms
from augment.inversion.settings import RNRISettings
from augment.inversion.solver import Iteration, Solver, State


class RNRI(RNRISettings, Solver):
    """Apply scalar Newton-Raphson to F(z) = |z - f(z)|_1 + lambda G(z), G = |z - mu|^2 / (2 beta).

        z_i <- z_i - (1/D) F(z) / (g_i + eta),    g = dF/dz by autograd through the denoiser

    Objective, update (the paper's equation 9), lambda, eta and the start, z', are as published; N(mu, beta I) is the
    forward process q(z | z'). K iterations evaluate F and g at K iterates, the first of which is the first guess.

    *The answer is not.* The paper's equations end with the iterate of the last update; here, as in the authors' code,
    it is f of the iterate with the least F, per sample. F has no root when G > 0 and the division is unbounded where
    g_i is near -eta, so the last iterate is much the worse answer (`jobs/measure_rnri_answer.py`). So the last update
    is not used, and with one iteration none is: that is DDIM inversion.

    One iteration is one evaluation and one vector-Jacobian product.
    """

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
    """Return z_i - (1/D) F / (g_i + eta), with D the number of elements of a sample.

    Args:
        z, g: [B, C, H, W].
        objective: F, [B].
    """
    dimensions = z[0].numel()
    return z - objective.view(-1, 1, 1, 1) / dimensions / (g + eta)
