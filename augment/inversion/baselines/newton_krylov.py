"""Newton-Krylov inversion (Knoll & Keyes 2004): the vector equation's Newton method without its matrix."""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from augment.inversion.baselines.line_search import Anchor
from augment.inversion.equation import StepEquation, inner, rms
from augment.inversion.settings import NewtonKrylovSettings
from augment.inversion.solver import Iteration, Solver, State


class NewtonKrylov(NewtonKrylovSettings, Solver):
    """Apply Newton's method to F(z) = z - f(z), its linear systems solved by GMRES (Saad & Schultz 1986).

        J d = -F(z),    z <- z + rho d,    J = I - df/dz

    J is only ever multiplied by vectors, exactly, in forward mode; the differences of F that Knoll & Keyes take instead
    would have few digits left in float32, and none around a half-precision network. `krylov_dim` products make d the
    minimiser of |F + J d| over the Krylov space (an inexact Newton step), a direction in which |F| falls.

    *Line search*: rho starts at 1 from every new best iterate; if the residual did not fall there, the next iteration
    goes back and halves rho. So backtracking costs iterations, not forwards within one, and is per sample.

    One iteration is one evaluation and `krylov_dim` Jacobian-vector products, also where the step is retraced. The
    answer is the iterate that the last iteration leads to, from the best that was evaluated.
    """

    def init(self, eq: StepEquation, z: Tensor) -> State:
        return Anchor.unknown(z, rho=1.0)

    @torch.no_grad()
    def step(self, eq: StepEquation, z: Tensor, state: State) -> tuple[Iteration, State]:
        assert isinstance(state, Anchor)
        eps = eq.eps(z)
        r = eq.f_of_eps(eps) - z
        residual = rms(r)
        d = self._gmres(eq, z, r)
        anchor = state.visit(z, eps, d, residual)
        return replace(anchor, rho=torch.where(residual < state.residual, 1.0, anchor.rho)).leave()

    def _gmres(
        self, eq: StepEquation, z: Float[Tensor, "B C H W"], r: Float[Tensor, "B C H W"]
    ) -> Float[Tensor, "B C H W"]:
        """Return the d that minimises |r - J d| over span(r, J r, ..., J^(k-1) r), for each sample.

        Arnoldi's process with a batch dimension: where a sample's space is exhausted its vectors are zero from then on.
        """
        tiny = torch.finfo(r.dtype).tiny
        beta = torch.linalg.vector_norm(r.flatten(1), dim=1)  # (B,)
        V = (r.flatten(1) / beta.clamp_min(tiny)[:, None])[:, None]  # (B, j + 1, D)
        H = r.new_zeros(len(r), self.krylov_dim + 1, self.krylov_dim)
        for j in range(self.krylov_dim):
            v = V[:, j].view_as(r)
            w = (v - eq.directional(z, v)).flatten(1)
            scale = torch.linalg.vector_norm(w, dim=1)
            for _ in range(2):  # Gram-Schmidt twice is orthogonal to rounding
                h = inner(V, w)  # (B, j + 1)
                H[:, : j + 1, j] += h
                w = w - (h[:, None] @ V)[:, 0]
            H[:, j + 1, j] = torch.linalg.vector_norm(w, dim=1)
            is_exhausted = H[:, j + 1, j] <= 10 * torch.finfo(r.dtype).eps * scale
            following = torch.where(is_exhausted[:, None], 0.0, w / H[:, j + 1, j].clamp_min(tiny)[:, None])
            V = torch.cat([V, following[:, None]], dim=1)
        y = _least_squares(H.double(), beta.double())
        return (y.float()[:, None] @ V[:, :-1]).view_as(r)


def _least_squares(H: Float[Tensor, "B k1 k"], beta: Float[Tensor, " B"]) -> Float[Tensor, "B k"]:
    """Return argmin |beta e1 - H y|, by normal equations; the tiny ridge is for exhausted columns."""
    matrix = H.mT @ H
    ridge = (1e-14 * matrix.diagonal(dim1=1, dim2=2).amax(dim=1)).clamp_min(torch.finfo(H.dtype).tiny)
    identity = torch.eye(H.shape[2], dtype=H.dtype, device=H.device)
    right = H[:, 0] * beta[:, None]
    # solve_ex: a sample with non-finite values must not raise for the whole batch
    return torch.linalg.solve_ex(matrix + ridge.view(-1, 1, 1) * identity, right[..., None])[0][..., 0]
