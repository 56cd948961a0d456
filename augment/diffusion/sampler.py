"""Sampling: walk a schedule from noise to image."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from augment.diffusion.denoiser import Denoiser
from augment.diffusion.schedule import Schedule


def batch_timesteps(timestep: float, z: Tensor) -> Tensor:
    """The timestep, once per sample: float32 [B]."""
    return torch.full((len(z),), timestep, device=z.device, dtype=torch.float32)


@torch.no_grad()
def sample(
    eps_fn: Denoiser,
    z: Float[Tensor, "B C H W"],
    schedule: Schedule,
    *,
    noise: Sequence[Tensor] | None = None,
) -> Float[Tensor, "B C H W"]:
    """Latents at the end of the schedule, float32.

    Args:
        eps_fn: the denoiser with its conditions.
        z: latents at the start of the schedule.
        schedule: the steps.
        noise: one tensor [B, C, H, W] per step, for samplers that add noise.
    """
    z = z.float()
    for i, step in enumerate(schedule.steps):
        eps = eps_fn(z, batch_timesteps(step.timestep, z)).float()
        z = step.apply(z, eps, None if noise is None else noise[i])
    return z
