"""Anderson-accelerated fixed-point inversion (Pan et al. 2023, AIDI)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from augment.inversion.equation import StepEquation, rms
from augment.inversion.solver import Iteration, Solver, State


@dataclass(frozen=True)
class _Window(State):
    """The last iterates' residuals f = g - x and images g, flattened, newest last: [B, k, D], k <= m + 1."""

    residuals: Tensor
    images: Tensor


@dataclass(frozen=True)
class Anderson(Solver):
    """Anderson acceleration (Anderson 1965; Walker & Ni 2011, algorithm AA) of x <- g(x), started at z'.

    Their g is our f, their f = g(x) - x is our residual with the other sign. In its equivalent
    unconstrained form, with F_k and G_k the differences of successive residuals and images in the window,

        x_{k+1} = g(x_k) - G_k gamma,    gamma = argmin |f_k - F_k gamma|^2

    per sample; the first iteration is DDIM inversion. For a linear network this is GMRES (their theorem 2.2).
    AIDI uses m = 3 and five iterations. The least squares are regularised, since near a solution the differences are
    rounding errors of the network and nearly parallel. One iteration is one evaluation.

    `RNRISecant` without prior is the same with a warm start; this is the published method to compare it with.

    Attributes:
        memory: m, the number of differences in the window; at least 1.
        ridge: weight of |gamma|^2 when every difference of residuals is scaled to unit length; above 0.
    """

    memory: int = 3
    ridge: float = 1e-8

    def __post_init__(self) -> None:
        if self.memory < 1:
            raise ValueError(f"memory must be at least 1, got {self.memory}")
        if self.ridge <= 0:
            raise ValueError(f"ridge must be above 0, got {self.ridge}")

    def init(self, eq: StepEquation, z: Tensor) -> State:
        empty = z.new_zeros(len(z), 0, z[0].numel())
        return _Window(empty, empty)

    @torch.no_grad()
    def step(self, eq: StepEquation, z: Tensor, state: State) -> tuple[Iteration, State]:
        assert isinstance(state, _Window)
        eps = eq.eps(z)
        g = eq.f_of_eps(eps)
        f = g - z
        window = _Window(
            torch.cat([state.residuals, f.flatten(1)[:, None]], dim=1)[:, -self.memory - 1 :],
            torch.cat([state.images, g.flatten(1)[:, None]], dim=1)[:, -self.memory - 1 :],
        )
        following = g
        if window.images.shape[1] > 1:
            gamma = self._gamma(window.residuals.diff(dim=1).double(), f.flatten(1).double())
            G = window.images.diff(dim=1)  # (B, k, D)
            following = g - (gamma.float()[:, None] @ G).view_as(g)
        residual = rms(f)
        return Iteration(z=following, answer=following, eps=eps, residual=residual, merit=residual), window

    def _gamma(self, F: Tensor, f: Tensor) -> Tensor:
        """[B, k], by normal equations: in float64 they lose nothing that float32 differences had."""
        length = torch.linalg.vector_norm(F, dim=2).clamp_min(torch.finfo(F.dtype).tiny)
        F = F / length[..., None]
        matrix = F @ F.mT + self.ridge * torch.eye(F.shape[1], dtype=F.dtype, device=F.device)
        # solve_ex: a sample with non-finite values must not raise for the whole batch
        return torch.linalg.solve_ex(matrix, F @ f[..., None])[0][..., 0] / length
