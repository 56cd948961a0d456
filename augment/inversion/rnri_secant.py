"""Regularised quasi-Newton-Raphson inversion: RNRI's prior on a multi-secant Newton method for the vector equation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from augment.inversion.equation import StepEquation, rms
from augment.inversion.solver import Iteration, Prediction, Solver, State


@dataclass(frozen=True)
class _History(State):
    """Earlier iterates of this equation, newest last: residuals f - z and images f, [B, k, D], k <= memory."""

    residuals: Tensor
    images: Tensor


@dataclass(frozen=True)
class RNRISecant(Solver):
    """Warm start, multi-secant Jacobian, Tikhonov term from the Gaussian prior. No derivatives.

    Newton-Raphson on the vector equation z - f(z) = 0 with the Jacobian that the earlier iterates of the same equation
    imply (Anderson 1965; Fang & Saad 2009, eq. 2.12). With r = f - z, and dR, dF the differences of r and of f to the
    earlier iterates,

        z <- f - dF gamma,   gamma = argmin |r - dR gamma|^2 + w |f - dF gamma - mu|^2,   w = lambda s^2 / beta

    where N(mu, beta I) is the prior RNRI regularises with and s^2 = |r|^2 / D. The weight w is what makes the two terms
    minus logarithms of Gaussians; it vanishes with the residual, so a solution of z = f(z) stays one.

    *Warm start*: the first iterate is f of a guess at the prediction, which costs no evaluation: the predictions that
    the two previous inverted steps ended with, extrapolated linearly in the log of the signal-to-noise ratio. With it,
    one evaluation meets a fair tolerance in most steps but the first, where the equation is hardest; so a `Stop` with a
    tolerance spends the evaluations where they are needed.

    Attributes:
        prior_weight: lambda.
        memory: number of earlier iterates in the Jacobian.
        ridge: added to the normal equations, relative to their mean diagonal.
        extrapolation: share of the extrapolation that is taken; 0 starts from the previous prediction.
    """

    prior_weight: float = 0.01
    memory: int = 2
    ridge: float = 1e-6
    extrapolation: float = 1.0

    def __post_init__(self) -> None:
        if self.memory < 1:
            raise ValueError(f"memory must be at least 1, got {self.memory}")

    def start(self, eq: StepEquation, earlier: Sequence[Prediction] = ()) -> Tensor:
        if not earlier:
            return eq.after
        guess = earlier[-1].eps
        if len(earlier) > 1:
            before, last = earlier[-2:]
            ratio = (eq.log_snr - last.log_snr) / (last.log_snr - before.log_snr)
            guess = guess + self.extrapolation * ratio * (last.eps - before.eps)
        return eq.f_of_eps(guess)

    def init(self, eq: StepEquation, z: Tensor) -> State:
        empty = z.new_zeros(len(z), 0, z[0].numel())
        return _History(empty, empty)

    @torch.no_grad()
    def step(self, eq: StepEquation, z: Tensor, state: State) -> tuple[Iteration, State]:
        assert isinstance(state, _History)
        eps = eq.eps(z)
        f = eq.f_of_eps(eps)
        r = f - z
        following = f
        if state.images.shape[1]:
            mu = eq.step.prior_scale * eq.after
            weight = self.prior_weight * r.square().mean(dim=(1, 2, 3)) / eq.step.prior_variance
            following = f - self._combine(r.flatten(1), f.flatten(1), (f - mu).flatten(1), weight, state).view_as(f)
        residual = rms(r)
        history = _History(
            torch.cat([state.residuals, r.flatten(1)[:, None]], dim=1)[:, -self.memory :],
            torch.cat([state.images, f.flatten(1)[:, None]], dim=1)[:, -self.memory :],
        )
        return Iteration(z=following, answer=following, eps=eps, residual=residual, merit=residual), history

    def _combine(self, r: Tensor, f: Tensor, deviation: Tensor, weight: Tensor, state: _History) -> Tensor:
        """dF gamma, [B, D]: the regularised least-squares problem, by its normal equations in float64."""
        d_r = (r[:, None] - state.residuals).double()  # (B, k, D)
        d_f = (f[:, None] - state.images).double()
        w = weight.double().view(-1, 1, 1)
        matrix = d_r @ d_r.mT + w * (d_f @ d_f.mT)  # (B, k, k)
        right = d_r @ r.double()[..., None] + w * (d_f @ deviation.double()[..., None])
        ridge = self.ridge * matrix.diagonal(dim1=1, dim2=2).mean(dim=1)
        ridge = ridge.clamp_min(torch.finfo(torch.float64).tiny)  # where all differences are zero
        matrix = matrix + torch.diag_embed(ridge[:, None].expand(-1, matrix.shape[1]))
        gamma = torch.linalg.solve_ex(matrix, right)[0]
        return (d_f.mT @ gamma)[..., 0].float()
