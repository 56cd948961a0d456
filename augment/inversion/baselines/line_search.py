"""A line search that costs iterations instead of evaluations within one, per sample."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from augment.inversion.solver import Iteration, State


@dataclass(frozen=True)
class Anchor(State):
    """The best iterate, and how to leave it: the next is z + rho direction.

    Attributes:
        z, eps: the best iterate and the network's prediction there, [B, C, H, W].
        direction: where to go from it, [B, C, H, W].
        residual: root mean square of z - f(z) at it, [B].
        rho: step size, [B].
        age: minus the number of iterations, [B].
    """

    z: Tensor
    eps: Tensor
    direction: Tensor
    residual: Tensor
    rho: Tensor
    age: Tensor

    @classmethod
    def unknown(cls, z: Tensor, rho: float) -> Anchor:
        """Return the anchor before the first iteration; any finite residual is better than its own."""
        zeros, none = torch.zeros_like(z), z.new_zeros(len(z))
        return cls(z, zeros, zeros, none + torch.inf, none + rho, none)

    def visit(self, z: Tensor, eps: Tensor, direction: Tensor, residual: Tensor) -> Anchor:
        """Return z where the residual fell, else the old anchor with rho halved: one trial of a line search."""
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
        """Return the next iterate, `first` on the first iteration. It counts as the best: earlier ones were tried."""
        following = self.z + self.rho.view(-1, 1, 1, 1) * self.direction
        if first is not None:
            following = torch.where((self.age == -1).view(-1, 1, 1, 1), first, following)
        return Iteration(z=following, answer=following, eps=self.eps, residual=self.residual, merit=self.age), self
