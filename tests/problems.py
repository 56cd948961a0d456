"""Denoisers whose implicit equation has a closed-form root, and a toy-size real pipeline."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from augment.diffusion import CLEAN, AffineStep, Denoiser, Level

SHAPE = (3, 2, 2)


@dataclass(frozen=True)
class LinearProblem:
    """eps(z, t) = M z + m on flattened latents: f is affine, and (I + b/a M) z = (z' - b m - c n) / a at its root."""

    matrix: Tensor  # (D, D)
    offset: Tensor  # (D,)

    @classmethod
    def random(cls, seed: int, norm: float, shape: tuple[int, ...] = SHAPE) -> LinearProblem:
        generator = torch.Generator().manual_seed(seed)
        size = int(torch.tensor(shape).prod())
        matrix = torch.randn(size, size, generator=generator)
        matrix = matrix * (norm / torch.linalg.matrix_norm(matrix, 2))
        return cls(matrix, torch.randn(size, generator=generator))

    def denoiser(self) -> Denoiser:
        return Denoiser(lambda z, t: (z.flatten(1) @ self.matrix.T + self.offset).view_as(z))

    def root(self, step: AffineStep, after: Tensor, noise: Tensor | None = None) -> Tensor:
        right = after.flatten(1).double() - step.b * self.offset.double()
        if noise is not None:
            right = right - step.c * noise.flatten(1).double()
        left = step.a * torch.eye(len(self.offset)).double() + step.b * self.matrix.double()
        return torch.linalg.solve(left, right.T).T.view_as(after).float()


STEP = AffineStep(timestep=500.0, a=1.2, b=-0.6, c=0.0, start=Level(0.8, 0.6), end=CLEAN)
NOISY_STEP = AffineStep(timestep=500.0, a=1.2, b=-0.6, c=0.3, start=Level(0.8, 0.6), end=CLEAN)


def latents(count: int, seed: int = 0, shape: tuple[int, ...] = SHAPE) -> Tensor:
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(seed))


def nonlinear_denoiser() -> Denoiser:
    """A smooth contraction that differs from sample to sample through its condition."""
    matrix = LinearProblem.random(3, norm=0.9).matrix

    def predict(z: Tensor, t: Tensor, shift: Tensor) -> Tensor:
        return torch.tanh((z.flatten(1) + shift) @ matrix.T + t[:, None] / 1000).view_as(z)

    return Denoiser(predict, (latents(7, seed=9).flatten(1),))
