"""Anderson acceleration with RNRI's prior: an ablation."""

from __future__ import annotations

import torch
from torch import Tensor

from augment.inversion.anderson import Window
from augment.inversion.equation import StepEquation, rms
from augment.inversion.settings import AndersonPriorSettings
from augment.inversion.solver import Iteration, Solver, State


class AndersonPrior(AndersonPriorSettings, Solver):
    """Let RNRI's Gaussian prior have a say in Anderson's least squares. It has not earned anything.

        x_{k+1} = g(x_k) - G_k gamma,    gamma = argmin |f_k - F_k gamma|^2 + w |g(x_k) - G_k gamma - mu|^2

    with the terms of `Anderson`, N(mu, beta I) the forward process q(z | z'), w = lambda s^2 / beta and
    s^2 = |f_k|^2 / D. That w makes the two terms minus logarithms of Gaussians. It vanishes with the residual, so a
    solution of z = f(z) stays one; with lambda = 0 this is `Anderson`. One iteration is one evaluation.
    """

    def init(self, eq: StepEquation, z: Tensor) -> State:
        return Window.empty(z)

    @torch.no_grad()
    def step(self, eq: StepEquation, z: Tensor, state: State) -> tuple[Iteration, State]:
        assert isinstance(state, Window)
        eps = eq.eps(z)
        g = eq.f_of_eps(eps)
        window = state.append(g - z, g, self.memory)
        residual = rms(g - z)
        weight = self.prior_weight * residual.square() / eq.prior_variance
        following = g - window.correction(self.ridge, weight, eq.prior_deviation(g).flatten(1)).view_as(g)
        return Iteration(z=following, answer=following, eps=eps, residual=residual, merit=residual), window
