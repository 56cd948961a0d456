"""ExactDPM: both inversions of Hong et al. 2024 ("On Exact Inversion of DPM-Solvers", CVPR), for first-order steps."""

from __future__ import annotations

import torch
from torch import Tensor

from augment.inversion.baselines.line_search import Anchor
from augment.inversion.equation import StepEquation, rms
from augment.inversion.settings import ForwardStepSettings, GradientDescentSettings
from augment.inversion.solver import Iteration, Solver, State


class ForwardStep(ForwardStepSettings, Solver):
    """Iterate z <- z - rho (z - f(z)), the forward step method (algorithm 1, for latent diffusion).

    Converges where fixed point does not, for small rho and z - f(z) monotone: the paper's answer to guidance above 1.
    As in the paper the first iterate after z' is f(z'), DDIM inversion. The authors' code differs: its residual is that
    of z', a (z - f(z)), so its rho of 0.5 is 0.5 a here; rho grows to that over 20 iterations and halves after 20
    without a new best, where here it halves as soon as the residual does not fall, and the step is retraced; it runs
    until the squared residual summed *over the batch* is below 1e-3 or 500 times, where here `Stop` is per sample. One
    iteration is one evaluation.
    """

    def init(self, eq: StepEquation, z: Tensor) -> State:
        return Anchor.unknown(z, self.step_size)

    @torch.no_grad()
    def step(self, eq: StepEquation, z: Tensor, state: State) -> tuple[Iteration, State]:
        assert isinstance(state, Anchor)
        eps = eq.eps(z)
        f = eq.f_of_eps(eps)
        return state.visit(z, eps, f - z, rms(f - z)).leave(first=f)


class GradientDescent(GradientDescentSettings, Solver):
    """Descend z <- z - rho grad 1/2 |z - f(z)|^2 (the paper's method for pixels), by autograd through the denoiser.

    Otherwise as `ForwardStep`. One iteration is one evaluation and one vector-Jacobian product.
    """

    def init(self, eq: StepEquation, z: Tensor) -> State:
        return Anchor.unknown(z, self.step_size)

    def step(self, eq: StepEquation, z: Tensor, state: State) -> tuple[Iteration, State]:
        assert isinstance(state, Anchor)
        with torch.enable_grad():
            z = z.detach().requires_grad_(True)
            eps = eq.eps(z)
            f = eq.f_of_eps(eps)
            gradient = eq.gradient((z - f).square().sum(dim=(1, 2, 3)) / 2, z)
        z, eps, f = z.detach(), eps.detach(), f.detach()
        return state.visit(z, eps, -gradient, rms(f - z)).leave(first=f)
