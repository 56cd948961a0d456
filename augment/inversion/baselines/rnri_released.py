"""RNRI as its authors' code computes it, which is not what the paper says."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from augment.inversion.equation import StepEquation, rms
from augment.inversion.settings import RNRIReleasedSettings
from augment.inversion.solver import Iteration, Solver, State


class RNRIReleased(RNRIReleasedSettings, Solver):
    """Step along a sign vector, by a size that a prior about the clean latents has a share in.

    The code (`inversion_step` of github.com/dvirsamuel/NewtonRaphsonInversion) keeps latents as y = x + sigma n. With
    h(y) its right-hand side, computed without gradient, x the clean latents and sigma the level of y,

        l(y) = sum_i |h_i - y_i| + (alpha/2) ((h_i - x_i) / sigma)^2,    y_i <- y_i - (1/D) l / g_i,    g = dl/dy

    from the y' of the step before; the answer is the h(y) with the least l. There is no eta, the prior N(x, sigma^2 I)
    is the forward process q(y | x), and g = -sign(h - y), since a gradient passes through -y only.

    *In our latents* z = s y, so sigma = v/s; both say that the same step ends in the same z', so f(z) = s h(y). Hence
    |h - y| = |f - z| / s, (h - x) / sigma = (f - s x) / v, and the update s y_i - (s/D) l / g_i is

        z_i <- z_i + (1/D) L / sign(f_i - z_i),    L = s l = |f - z|_1 + s (alpha/2) |f - s x|^2 / v^2

    from (s/s') z'. L orders iterates as l does, and is finite at pure noise too, where s = 0.

    Differences that remain: loss, D (64 x 64 x 4 there) and best iterate are per sample, not over the batch; where
    f_i = z_i exactly the element stays, since a division by that sign would lose the sample. One iteration is one
    evaluation.
    """

    sigma_scaled: ClassVar[bool] = True

    def init(self, eq: StepEquation, z: Tensor) -> State:
        return State()

    @torch.no_grad()
    def step(self, eq: StepEquation, z: Tensor, state: State) -> tuple[Iteration, State]:
        s, v = eq.step.start.signal, eq.step.start.noise
        eps = eq.eps(z)
        f = eq.f_of_eps(eps)
        prior = (f - s * eq.clean).square().sum(dim=(1, 2, 3)) / (2.0 * v**2)
        loss = (f - z).abs().sum(dim=(1, 2, 3)) + s * self.prior_weight * prior
        following = z + loss.view(-1, 1, 1, 1) / z[0].numel() * (f - z).sign()  # 1 / sign is sign, but for 0
        return Iteration(z=following, answer=f, eps=eps, residual=rms(z - f), merit=loss), state
