"""Sampling: walk a schedule from noise to image."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from augment.diffusion.denoiser import Denoiser
from augment.diffusion.schedule import Schedule


def batch_timesteps(timestep: float, z: Tensor) -> Float[Tensor, " B"]:
    """Return the timestep once per sample, float32 on the device of z."""
    return torch.full((len(z),), timestep, device=z.device, dtype=torch.float32)


def check_noise(schedule: Schedule, noise: Sequence[Tensor] | None) -> None:
    """Raise ValueError unless the schedule can be walked, and `noise` is what walking it in either direction needs.

    That is one tensor per step; samplers that add no noise also take None.
    """
    schedule.check_walkable()
    if noise is None:
        if schedule.is_stochastic:
            raise ValueError(
                f"sampler {schedule.name!r} adds noise in its steps and none was given; draw it with "
                "augment.diffusion.step_noise, or take an inversion's"
            )
    elif len(noise) != len(schedule):
        raise ValueError(
            f"sampler {schedule.name!r} takes {len(schedule)} steps and wants one noise tensor for each, "
            f"got {len(noise)}"
        )


@torch.no_grad()
def sample(
    eps_fn: Denoiser,
    z: Float[Tensor, "B C H W"],
    schedule: Schedule,
    *,
    noise: Sequence[Tensor] | None = None,
    after_step: Callable[[int, Tensor], Tensor] | None = None,
) -> Float[Tensor, "B C H W"]:
    """Return the latents at the end of the schedule, float32.

    Args:
        eps_fn: the denoiser with its conditions.
        z: latents at the start of the schedule.
        schedule: the steps.
        noise: one tensor [B, C, H, W] per step, for samplers that add noise.
        after_step: called with (number of the step, latents at its end); returns the latents to go on with.

    Raises:
        ValueError: if the sampler adds noise and none is given, or not as many tensors as there are steps, or a step
            starts from noise without any signal.
    """
    check_noise(schedule, noise)
    z = z.float()
    for i, step in enumerate(schedule.steps):
        eps = eps_fn(z, batch_timesteps(step.timestep, z)).float()
        z = step.apply(z, eps, None if noise is None else noise[i])
        if after_step is not None:
            z = after_step(i, z)
    return z
