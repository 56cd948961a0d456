"""The noise levels that a sampler visits on a variance-preserving training schedule."""

from __future__ import annotations

from typing import Literal

import numpy as np
from jaxtyping import Float
from torch import Tensor

from augment.diffusion.step import CLEAN, Level

Spacing = Literal["leading", "trailing", "linspace"]
Respacing = Literal["none", "karras", "exponential"]

KARRAS_RHO = 7.0  # Karras et al. 2022, table 1


def timesteps(num_train_timesteps: int, num_steps: int, spacing: Spacing, steps_offset: int) -> list[float]:
    """Return the training timesteps a sampler visits, descending (Lin et al. 2024, table 2); whole but for `linspace`.

    Args:
        num_train_timesteps: T, of the training schedule.
        num_steps: how many, 1 to T.
        spacing: `trailing` starts at T - 1, `leading` ends at `steps_offset`, `linspace` visits T - 1 and 0.
        steps_offset: what `leading` adds to each.

    Raises:
        ValueError: for a number of steps outside its range, or an offset that leads beyond T - 1.
    """
    if not 1 <= num_steps <= num_train_timesteps:
        raise ValueError(f"num_steps must be in 1..{num_train_timesteps}, got {num_steps}")
    if spacing == "leading":
        stride = num_train_timesteps // num_steps
        if (num_steps - 1) * stride + steps_offset >= num_train_timesteps:
            raise ValueError(
                f"{num_steps} leading steps with steps_offset {steps_offset} start beyond the last training timestep, "
                f"{num_train_timesteps - 1}; take fewer steps, or trailing spacing"
            )
        return [float(i * stride + steps_offset) for i in reversed(range(num_steps))]
    if spacing == "linspace":
        return np.linspace(0, num_train_timesteps - 1, num_steps, dtype=np.float32)[::-1].tolist()
    stride_ = num_train_timesteps / num_steps
    return [float(round(num_train_timesteps - i * stride_) - 1) for i in range(num_steps)]


def level(alpha_cumprod: float) -> Level:
    """Return the level of a variance-preserving process: square roots of alpha and of 1 - alpha."""
    return Level(alpha_cumprod**0.5, (1.0 - alpha_cumprod) ** 0.5)


def sigmas_of(alphas_cumprod: Float[Tensor, " T"]) -> np.ndarray:
    """Return the noise per unit of image, sqrt((1 - alpha) / alpha), float64 [T].

    It is infinite at the end of a schedule that ends without any image (rescale_betas_zero_snr).
    """
    alphas = alphas_cumprod.double().cpu().numpy().clip(min=0.0)
    with np.errstate(divide="ignore"):
        return np.sqrt((1.0 - alphas) / alphas)


def visited_levels(
    alphas_cumprod: Float[Tensor, " T"], num_steps: int, spacing: Spacing, steps_offset: int
) -> tuple[list[float], list[Level]]:
    """Return the visited timesteps, and the levels there followed by the clean end.

    Between timesteps sigma is interpolated linearly, as the Euler schedulers of diffusers do.
    """
    sigmas = sigmas_of(alphas_cumprod)
    visited = timesteps(len(sigmas), num_steps, spacing, steps_offset)
    return visited, _levels(np.interp(visited, np.arange(len(sigmas)), sigmas))


def respaced_levels(
    alphas_cumprod: Float[Tensor, " T"],
    num_steps: int,
    respacing: Literal["karras", "exponential"],
    largest: float,
    smallest: float,
) -> tuple[list[float], list[Level]]:
    """Return noise levels spaced by a rule of their own between two sigmas: their timesteps, and levels as above.

    `karras` is Karras et al. 2022, eq. 5, with rho = 7; `exponential` spaces the logarithms evenly. The network is told
    the timestep at which the training schedule, interpolated linearly, has that sigma. diffusers interpolates the
    logarithm of sigma there, which differs by less than a tenth of a timestep.

    Args:
        largest, smallest: sigmas of the first and of the last step's start.

    Raises:
        ValueError: if they do not descend, the smallest is not above 0, or the largest is infinite.
    """
    if np.isinf(largest):
        raise ValueError(
            f"the noise schedule ends at zero signal (rescale_betas_zero_snr: true in the scheduler's config), and "
            f"{respacing} noise levels cannot be spaced from there: choose the ddim sampler, or set sigma_max in "
            "scheduler/scheduler_config.json of a copy of the model"
        )
    if not 0.0 < smallest <= largest or (num_steps > 1 and smallest == largest):
        raise ValueError(f"sigmas must descend from sigma_max to sigma_min > 0, got {largest} and {smallest}")
    ramp = np.linspace(0.0, 1.0, num_steps)
    if respacing == "karras":
        first, last = largest ** (1 / KARRAS_RHO), smallest ** (1 / KARRAS_RHO)
        at = (first + ramp * (last - first)) ** KARRAS_RHO
    else:
        at = np.exp(np.log(largest) + ramp * (np.log(smallest) - np.log(largest)))
    sigmas = sigmas_of(alphas_cumprod)
    return np.interp(at, sigmas, np.arange(len(sigmas))).tolist(), _levels(at)


def _levels(sigmas: np.ndarray) -> list[Level]:
    return [*(level(1.0 / (1.0 + s**2)) for s in sigmas.tolist()), CLEAN]
