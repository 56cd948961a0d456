"""ExactDPM: both inversions of Hong et al. 2024 ("On Exact Inversion of DPM-Solvers", CVPR), for first-order steps."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from augment.inversion.equation import StepEquation, rms
from augment.inversion.solver import Iteration, Solver, State


@dataclass(frozen=True)
class Anchor(State):
    """The best iterate, and how to leave it: the next is z + rho direction. `age` counts down from 0."""

    z: Tensor
    eps: Tensor
    direction: Tensor
    residual: Tensor
    rho: Tensor
    age: Tensor

    @classmethod
    def unknown(cls, z: Tensor, rho: float) -> Anchor:
        zeros, none = torch.zeros_like(z), z.new_zeros(len(z))
        return cls(z, zeros, zeros, none + torch.inf, none + rho, none)

    def visit(self, z: Tensor, eps: Tensor, direction: Tensor, residual: Tensor) -> Anchor:
        """z where the residual fell, else the old anchor with rho halved: a line search of one trial per iteration."""
        fell = residual < self.residual  # False for NaN: a step into overflow is retraced like any other
        column = fell.view(-1, 1, 1, 1)
        return Anchor(
            z=torch.where(column, z, self.z),
            eps=torch.where(column, eps, self.eps),
            direction=torch.where(column, direction, self.direction),
            residual=torch.where(fell, residual, self.residual),
            rho=torch.where(fell, self.rho, self.rho / 2),
            age=self.age - 1,
        )

    def leave(self, first: Tensor | None = None) -> tuple[Iteration, Anchor]:
        """The next iterate, `first` on the first iteration. It counts as the best: earlier ones have been tried."""
        following = self.z + self.rho.view(-1, 1, 1, 1) * self.direction
        if first is not None:
            following = torch.where((self.age == -1).view(-1, 1, 1, 1), first, following)
        return Iteration(z=following, answer=following, eps=self.eps, residual=self.residual, merit=self.age), self


@dataclass(frozen=True)
class ForwardStep(Solver):
    """Forward step method (algorithm 1, for latent diffusion): z <- z - rho (z - f(z)). One evaluation an iteration.

    Converges where fixed point does not, for small rho and z - f(z) monotone: the paper's answer to guidance above 1.
    As in the paper the first iterate after z' is f(z'), DDIM inversion. The authors' code differs: its residual is that
    of z', a (z - f(z)), so its rho of 0.5 is 0.5 a here; rho grows to that over 20 iterations and halves after 20
    without a new best, where here it halves as soon as the residual does not fall, and the step is retraced; it runs
    until the squared residual summed *over the batch* is below 1e-3 or 500 times, where here `Stop` is per sample.

    Attributes:
        step_size: the first rho; above 0.
    """

    step_size: float = 0.5

    def __post_init__(self) -> None:
        if self.step_size <= 0:
            raise ValueError(f"step_size must be above 0, got {self.step_size}")

    def init(self, eq: StepEquation, z: Tensor) -> State:
        return Anchor.unknown(z, self.step_size)

    @torch.no_grad()
    def step(self, eq: StepEquation, z: Tensor, state: State) -> tuple[Iteration, State]:
        assert isinstance(state, Anchor)
        eps = eq.eps(z)
        f = eq.f_of_eps(eps)
        return state.visit(z, eps, f - z, rms(f - z)).leave(first=f)


@dataclass(frozen=True)
class GradientDescent(ForwardStep):
    """z <- z - rho grad 1/2 |z - f(z)|^2 (the paper's method for pixels), by autograd through the denoiser.

    Otherwise as `ForwardStep`. One iteration is one evaluation and one vector-Jacobian product.
    """

    step_size: float = 1.0

    def step(self, eq: StepEquation, z: Tensor, state: State) -> tuple[Iteration, State]:
        assert isinstance(state, Anchor)
        with torch.enable_grad():
            z = z.detach().requires_grad_(True)
            eps = eq.eps(z)
            f = eq.f_of_eps(eps)
            gradient = eq.gradient((z - f).square().sum(dim=(1, 2, 3)) / 2, z)
        z, eps, f = z.detach(), eps.detach(), f.detach()
        return state.visit(z, eps, -gradient, rms(f - z)).leave(first=f)
