"""Blending with the source's own trajectory (blended diffusion): the source is put back where a mask says so."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Blend:
    """Put the source back into the latents of its edits after a step, at the noise level of the step's end.

        z_i <- m s_i + (1 - m) z_i

    (Avrahami et al. 2022; in latents Avrahami et al. 2023.) There s_i is the source with fresh noise; here it is the
    source's latent at that level on the trajectory of its inversion.

    Attributes:
        mask: m, the share of the source, in 0..1.
        trajectory: s_i of every source, after each step in sampling order.
        owners: the source of each edit, by its place in the trajectory's batch.
        num_steps: the source is put back after so many steps, the first and noisiest.
    """

    mask: Float[Tensor, "N 1 h w"]
    trajectory: Sequence[Float[Tensor, "B C h w"]]
    owners: Int[Tensor, " N"]
    num_steps: int

    def __call__(self, step: int, z: Float[Tensor, "N C h w"]) -> Float[Tensor, "N C h w"]:
        """Return the latents to go on with after a step, counted from 0."""
        if step >= self.num_steps:
            return z
        source = self.trajectory[step][self.owners].float()
        return self.mask * source + (1.0 - self.mask) * z


def share_of_steps(num_steps: int, share: float) -> int:
    """Return how many of the walked steps a share is: rounded down, but at least one of any share above 0.

    Args:
        num_steps: that are walked.
        share: of them, in 0..1.
    """
    return max(1, int(num_steps * share + 1e-6)) if share else 0


def trajectory_bytes(num_steps: int, batch: int, latent_shape: tuple[int, int, int], dtype: torch.dtype) -> int:
    """Return the memory on the device of the trajectories of a batch, which stay there until its edits are made.

    Args:
        num_steps: that are walked.
        batch: sources inverted together.
        latent_shape: (C, h, w) of one image.
        dtype: of the network, in which they are kept.
    """
    return num_steps * batch * math.prod(latent_shape) * dtype.itemsize
