"""Scalar Newton-Raphson inversion without a prior: what RNRI regularises."""

from __future__ import annotations

import torch
from torch import Tensor

from augment.inversion.equation import StepEquation, rms
from augment.inversion.rnri import newton_raphson_update
from augment.inversion.settings import PlainNewtonSettings
from augment.inversion.solver import Iteration, Solver, State


class PlainNewton(PlainNewtonSettings, Solver):
    """Apply Newton-Raphson to the scalar r(z) = |z - f(z)|_1 (equation 4 of the text RNRI was introduced with).

        z_i <- z_i - (1/D) r(z) / g_i,    g = dr/dz by autograd through the denoiser

    `RNRI` with lambda = 0 and eta = 0. One equation for D unknowns: each element takes a D-th of the decrease, so the
    update is exact for one unknown, and for many it is without bound wherever one g_i is near 0. It is here to be
    compared with; the best iterate is kept, per sample, and f of it is the answer. One iteration is one evaluation and
    one vector-Jacobian product.
    """

    def init(self, eq: StepEquation, z: Tensor) -> State:
        return State()

    def step(self, eq: StepEquation, z: Tensor, state: State) -> tuple[Iteration, State]:
        with torch.enable_grad():
            z = z.detach().requires_grad_(True)
            eps = eq.eps(z)
            f = eq.f_of_eps(eps)
            r = (z - f).abs().sum(dim=(1, 2, 3))
            g = eq.gradient(r, z)
        z, f, eps, r = z.detach(), f.detach(), eps.detach(), r.detach()
        following = newton_raphson_update(z, r, g, 0.0)
        return Iteration(z=following, answer=f, eps=eps, residual=rms(z - f), merit=r), state
