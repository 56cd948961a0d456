"""Edit-friendly noise maps (Huberman-Spiegelglas et al. 2024, "An Edit Friendly DDPM Noise Space", CVPR)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from augment.diffusion.denoiser import Denoiser
from augment.diffusion.sampler import batch_timesteps
from augment.diffusion.schedule import Schedule


@torch.no_grad()
def edit_friendly(
    eps_fn: Denoiser,
    latents: Float[Tensor, "B C H W"],
    schedule: Schedule,
    noise: Sequence[Float[Tensor, "B C H W"]],
) -> tuple[Float[Tensor, "B C H W"], list[Tensor]]:
    """Return start latents and one noise map per step, with which a sampler that adds noise leads to the latents.

    Algorithm 1 of the paper. It solves no equation: the latents x_t that sampling passes through are chosen first, each
    with noise of its own, and what each step has to add to get from one to the next is stored.

        x_t = s_t x_0 + v_t n_t,    z_t = (x_{t-1} - mu(x_t)) / sigma_t,    mu(x_t) = a x_t + b eps(x_t, t), sigma_t = c

    Unlike the noise that `invert` returns, the maps are neither standard normal (their variance is larger) nor
    independent of each other, and hold most of the image: the start alone does not reproduce it. One evaluation a step.

    A last step without noise (c = 0, `euler_ancestral` and `lcm`) has no map to store the rest in. Its map is zero, as
    in the authors' code, and `sample(..., noise=maps)` ends in the network's prediction of x_0 from the step's start:
    exact up to the error of that one step, which falls with the noise it starts from, so with the number of steps.

    Args:
        eps_fn: the denoiser with the source prompt.
        latents: x_0, for example an encoded image.
        schedule: of a sampler that adds noise; `euler_ancestral` is the paper's DDPM.
        noise: n_t, one standard normal tensor per step, in sampling order.

    Returns:
        (latents at the start of the schedule, noise maps in sampling order), float32.

    Raises:
        ValueError: if the sampler adds no noise, or there is not one tensor per step.
    """
    if not schedule.is_stochastic:
        raise ValueError(
            f"sampler {schedule.name!r} adds no noise to its steps, so there are no noise maps: use `invert`"
        )
    if len(noise) != len(schedule):
        raise ValueError(f"{len(schedule)} steps need one noise tensor each, got {len(noise)}")
    x_0 = latents.float()
    path = [step.start.signal * x_0 + step.start.noise * n for step, n in zip(schedule.steps, noise, strict=True)]
    x_t, maps = path[0], []
    for step, following in zip(schedule.steps, [*path[1:], x_0], strict=True):
        mu = step.apply(x_t, eps_fn(x_t, batch_timesteps(step.timestep, x_t)).float())
        maps.append(torch.zeros_like(mu) if step.c == 0.0 else (following - mu) / step.c)
        # not `following`: the next map then makes up for this one's rounding error
        x_t = mu + step.c * maps[-1]
    return path[0], maps
