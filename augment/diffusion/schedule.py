"""Samplers as tables of affine steps."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from augment.diffusion.step import AffineStep

Spacing = Literal["leading", "trailing"]


@dataclass(frozen=True)
class Schedule:
    """The steps of a sampler in the order in which sampling takes them, from noise to image.

    Attributes:
        name: of the sampler, as it is recorded with every edit.
        steps: `steps[0]` starts at the noisiest timestep.
        alphas_cumprod: of the latents each step starts from: the square root of it scales the image, the square root
            of one minus it the noise.
    """

    name: str
    steps: tuple[AffineStep, ...]
    alphas_cumprod: tuple[float, ...]

    def __len__(self) -> int:
        return len(self.steps)

    @property
    def start_alpha_cumprod(self) -> float:
        return self.alphas_cumprod[0]

    def last_part(self, strength: float) -> Schedule:
        """The last `strength` share of the steps, as image-to-image takes them (Meng et al. 2022, SDEdit).

        Inversion walks a schedule backwards, so inverting this stops part of the way to pure noise.

        Args:
            strength: 0 < strength <= 1; rounded to whole steps as diffusers does, at least one.

        Raises:
            ValueError: if strength is outside that range.
        """
        if not 0.0 < strength <= 1.0:
            raise ValueError(f"strength must be in (0, 1], got {strength}")
        count = max(1, min(len(self.steps), int(len(self.steps) * strength + 1e-6)))
        return replace(self, steps=self.steps[-count:], alphas_cumprod=self.alphas_cumprod[-count:])


def timesteps(num_train_timesteps: int, num_steps: int, spacing: Spacing, steps_offset: int) -> list[int]:
    """The training timesteps a sampler visits, descending (Lin et al. 2024, table 2)."""
    if not 1 <= num_steps <= num_train_timesteps:
        raise ValueError(f"num_steps must be in 1..{num_train_timesteps}, got {num_steps}")
    if spacing == "leading":
        stride = num_train_timesteps // num_steps
        return [i * stride + steps_offset for i in reversed(range(num_steps))]
    stride_ = num_train_timesteps / num_steps
    return [round(num_train_timesteps - i * stride_) - 1 for i in range(num_steps)]


def ddim(
    alphas_cumprod: Float[Tensor, " T"],
    num_steps: int,
    *,
    spacing: Spacing = "trailing",
    steps_offset: int = 0,
    final_alpha_cumprod: float = 1.0,
) -> Schedule:
    """Deterministic DDIM (Song et al. 2021, eq. 12 with sigma = 0).

    With alpha the cumulative product at the step's timestep and alpha' at the next,
    z' = sqrt(alpha' / alpha) z + (sqrt(1 - alpha') - sqrt(alpha' / alpha) sqrt(1 - alpha)) eps.

    Args:
        alphas_cumprod: of the training schedule, descending.
        num_steps: number of steps.
        spacing: which timesteps are visited: `trailing` starts at the last one, `leading` ends at `steps_offset`.
        final_alpha_cumprod: alpha' of the last step; 1 means that it ends in the clean latents, and makes that step
            the singular one (its inverse depends on the network alone).
    """
    alphas = alphas_cumprod.double()
    if float(alphas.min()) <= 0.0:
        raise ValueError(
            "the noise schedule ends at zero signal (rescale_betas_zero_snr); its first step divides by zero and has "
            "no inverse: use a model without it"
        )
    visited = timesteps(len(alphas), num_steps, spacing, steps_offset)
    stride = len(alphas) // num_steps
    steps, starts = [], []
    for t in visited:
        # diffusers' DDIMScheduler steps by a fixed stride, also with trailing spacing
        alpha = alphas[t]
        alpha_next = alphas[t - stride] if t >= stride else torch.tensor(final_alpha_cumprod, dtype=torch.float64)
        a = (alpha_next / alpha).sqrt()
        b = (1 - alpha_next).sqrt() - a * (1 - alpha).sqrt()
        ratio = float(alpha / alpha_next)
        steps.append(AffineStep(float(t), float(a), float(b), 0.0, ratio**0.5, 1.0 - ratio))
        starts.append(float(alpha))
    return Schedule("ddim", tuple(steps), tuple(starts))
