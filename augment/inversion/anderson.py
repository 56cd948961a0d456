"""Anderson-accelerated fixed-point inversion (Pan et al. 2023, AIDI): the default method."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from augment.inversion.equation import StepEquation, inner, rms
from augment.inversion.settings import AndersonSettings
from augment.inversion.solver import Iteration, Solver, State


class Anderson(AndersonSettings, Solver):
    """Accelerate x <- g(x) by what earlier iterates say (Anderson 1965; Walker & Ni 2011, algorithm AA).

    Their g is our f, their f = g(x) - x is our residual with the other sign. In its equivalent unconstrained form, with
    F_k and G_k the differences of successive residuals and images in the window,

        x_{k+1} = g(x_k) - G_k gamma,    gamma = argmin |f_k - F_k gamma|^2

    per sample. That is a quasi-Newton step: F_k and G_k imply the Jacobian that agrees with the last m + 1 evaluations
    (a multi-secant method; Fang & Saad 2009, equation 2.12), without a derivative. For a linear network it is GMRES
    (Walker & Ni, theorem 2.2). The first iteration is fixed point: from z' it is DDIM inversion. AIDI uses m = 3 and
    five iterations from z'. The least squares are regularised, since near a solution the differences are rounding
    errors of the network and nearly parallel. One iteration is one evaluation.
    """

    def init(self, eq: StepEquation, z: Tensor) -> State:
        return Window.empty(z)

    @torch.no_grad()
    def step(self, eq: StepEquation, z: Tensor, state: State) -> tuple[Iteration, State]:
        assert isinstance(state, Window)
        eps = eq.eps(z)
        g = eq.f_of_eps(eps)
        window = state.append(g - z, g, self.memory)
        following = g - window.correction(self.ridge).view_as(g)
        residual = rms(g - z)
        return Iteration(z=following, answer=following, eps=eps, residual=residual, merit=residual), window


@dataclass(frozen=True)
class Window(State):
    """The last iterates' residuals f = g - x and images g, flattened, newest last: [B, k, D], k <= m + 1."""

    residuals: Float[Tensor, "B k D"]
    images: Float[Tensor, "B k D"]

    @classmethod
    def empty(cls, z: Tensor) -> Window:
        """Return the window before the first iterate."""
        nothing = z.new_zeros(len(z), 0, z[0].numel())
        return cls(nothing, nothing)

    def append(self, residual: Tensor, image: Tensor, memory: int) -> Window:
        """Return the window with one iterate more, of the last `memory` + 1 of them."""
        return Window(
            torch.cat([self.residuals, residual.flatten(1)[:, None]], dim=1)[:, -memory - 1 :],
            torch.cat([self.images, image.flatten(1)[:, None]], dim=1)[:, -memory - 1 :],
        )

    def correction(
        self,
        ridge: float,
        prior_weight: Float[Tensor, " B"] | None = None,
        prior_deviation: Float[Tensor, "B D"] | None = None,
    ) -> Float[Tensor, "B D"]:
        """Return G gamma with gamma = argmin |f - F gamma|^2 + w |d - G gamma|^2, zero while there is no difference.

        By normal equations: in float64 they lose nothing that float32 differences had.

        Args:
            ridge: weight of |gamma|^2 when the columns have unit length.
            prior_weight: w; None is 0.
            prior_deviation: d, how far the image g is from where a prior would have it.
        """
        if self.images.shape[1] < 2:
            return torch.zeros_like(self.images[:, -1])
        F, f = self.residuals.diff(dim=1).double(), self.residuals[:, -1].double()  # (B, k, D), (B, D)
        matrix, right = F @ F.mT, inner(F, f)[..., None]
        if prior_weight is not None and prior_deviation is not None:
            G, w = self.images.diff(dim=1).double(), prior_weight.double().view(-1, 1, 1)
            matrix, right = matrix + w * (G @ G.mT), right + w * inner(G, prior_deviation.double())[..., None]
        length = matrix.diagonal(dim1=1, dim2=2).sqrt().clamp_min(torch.finfo(F.dtype).tiny)[..., None]  # (B, k, 1)
        matrix = matrix / length / length.mT + ridge * torch.eye(F.shape[1], dtype=F.dtype, device=F.device)
        # solve_ex: a sample with non-finite values must not raise for the whole batch
        gamma = torch.linalg.solve_ex(matrix, right / length)[0] / length
        return (gamma.float().mT @ self.images.diff(dim=1))[:, 0]
