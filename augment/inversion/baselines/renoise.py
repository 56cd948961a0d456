"""ReNoise (Garibi et al. 2024, "ReNoise: Real Image Inversion Through Iterative Noising", ECCV)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from augment.inversion.equation import StepEquation, rms
from augment.inversion.settings import ReNoiseSettings
from augment.inversion.solver import Iteration, Solver, State


@dataclass(frozen=True)
class _Predictions(State):
    """The last predictions and residuals z - f(z), newest last: [B, k, C, H, W], k <= window."""

    delta: Tensor
    residuals: Tensor


class ReNoise(ReNoiseSettings, Solver):
    """Answer with the average of the last iterates of fixed point (algorithm 1, lines 7-12).

        delta^(k) = eps(z^(k-1), t),    z^(k) = f(z^(k-1)),    z^(avg) = sum_k w_k z^(k)

    The average is not iterated on: it cancels what oscillates about the root. As f is affine in the prediction, it is f
    of the averaged prediction, which is what the authors' code computes; as there, w_k is the same for the last
    iterates and 0 before. K iterations of `Stop` are the paper's K, one evaluation each. The paper returns
    the last average; here the best is kept, per sample, the one with the least average of residuals: z^(avg) is f of an
    iterate with that residual if f is affine, and it is small where iterates oscillate, where no single residual is.

    Left out: the paper's edit-enhancing losses on the prediction (section 3.2), which trade accuracy for a noise that
    looks more like noise and need a second evaluation, and its noise correction (equation 5), which moves n.

    The authors' setting for SDXL Turbo is a `window` of two of ten, but five of six in steps below t = 250.
    """

    def init(self, eq: StepEquation, z: Tensor) -> State:
        empty = z.new_zeros(len(z), 0, *z.shape[1:])
        return _Predictions(empty, empty)

    @torch.no_grad()
    def step(self, eq: StepEquation, z: Tensor, state: State) -> tuple[Iteration, State]:
        assert isinstance(state, _Predictions)
        eps = eq.eps(z)
        f = eq.f_of_eps(eps)
        last = _Predictions(
            torch.cat([state.delta, eps[:, None]], dim=1)[:, -self.window :],
            torch.cat([state.residuals, (z - f)[:, None]], dim=1)[:, -self.window :],
        )
        averaged = last.delta.mean(dim=1)
        merit = rms(last.residuals.mean(dim=1))
        return Iteration(z=f, answer=eq.f_of_eps(averaged), eps=averaged, residual=rms(z - f), merit=merit), last
