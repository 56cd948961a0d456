"""Samplers as tables of affine steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

import numpy as np
from jaxtyping import Float
from torch import Tensor

from augment.diffusion.step import AffineStep, Level, diffusion_step, with_prior

Spacing = Literal["leading", "trailing", "linspace"]
CLEAN = Level(1.0, 0.0)


@dataclass(frozen=True)
class Schedule:
    """The steps of a sampler in the order in which sampling takes them, from noise to image.

    Attributes:
        name: of the sampler, as it is recorded with every edit.
        steps: `steps[0]` starts at the noisiest timestep.
        starts: image and noise in the latents that each step starts from.
    """

    name: str
    steps: tuple[AffineStep, ...]
    starts: tuple[Level, ...]

    def __len__(self) -> int:
        return len(self.steps)

    @property
    def start(self) -> Level:
        return self.starts[0]

    @property
    def is_stochastic(self) -> bool:
        """Whether sampling adds noise on the way."""
        return any(step.c != 0.0 for step in self.steps)

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
        return replace(self, steps=self.steps[-count:], starts=self.starts[-count:])


def timesteps(num_train_timesteps: int, num_steps: int, spacing: Spacing, steps_offset: int) -> list[float]:
    """The training timesteps a sampler visits, descending (Lin et al. 2024, table 2); whole but for `linspace`."""
    if not 1 <= num_steps <= num_train_timesteps:
        raise ValueError(f"num_steps must be in 1..{num_train_timesteps}, got {num_steps}")
    if spacing == "leading":
        stride = num_train_timesteps // num_steps
        return [float(i * stride + steps_offset) for i in reversed(range(num_steps))]
    if spacing == "linspace":
        return np.linspace(0, num_train_timesteps - 1, num_steps, dtype=np.float32)[::-1].tolist()
    stride_ = num_train_timesteps / num_steps
    return [float(round(num_train_timesteps - i * stride_) - 1) for i in range(num_steps)]


def level(alpha_cumprod: float) -> Level:
    """Of a variance-preserving process: square roots of alpha and of 1 - alpha."""
    return Level(alpha_cumprod**0.5, (1.0 - alpha_cumprod) ** 0.5)


def sigmas_of(alphas_cumprod: Float[Tensor, " T"]) -> np.ndarray:
    """Noise per unit of image, sqrt((1 - alpha) / alpha), float64 [T].

    Raises:
        ValueError: if the schedule ends without any image (rescale_betas_zero_snr).
    """
    alphas = alphas_cumprod.double().cpu().numpy()
    if alphas.min() <= 0.0:
        raise ValueError(
            "the noise schedule ends at zero signal (rescale_betas_zero_snr); its first step divides by zero and has "
            "no inverse: use a model without it"
        )
    return np.sqrt((1.0 - alphas) / alphas)


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
    sigmas_of(alphas_cumprod)  # refuses a schedule without an inverse
    alphas = alphas_cumprod.double()
    stride = len(alphas) // num_steps if num_steps else 0
    steps, starts = [], []
    for t in timesteps(len(alphas), num_steps, spacing, steps_offset):
        # diffusers' DDIMScheduler steps by a fixed stride, also with trailing spacing
        following = int(t) - stride
        end = level(float(alphas[following]) if following >= 0 else final_alpha_cumprod)
        starts.append(level(float(alphas[int(t)])))
        steps.append(diffusion_step(t, starts[-1], end))
    return Schedule("ddim", tuple(steps), tuple(starts))


def euler(
    alphas_cumprod: Float[Tensor, " T"], num_steps: int, *, spacing: Spacing = "trailing", steps_offset: int = 0
) -> Schedule:
    """Euler's method on the probability-flow ODE (Karras et al. 2022, algorithm 1 without its correction).

    In unit-variance latents that is DDIM, between noise levels interpolated at fractional timesteps. diffusers'
    `EulerDiscreteScheduler` keeps latents scaled by sqrt(1 + sigma^2); ours are that divided out.
    """
    visited, levels = _sigma_levels(alphas_cumprod, num_steps, spacing, steps_offset)
    steps = [diffusion_step(t, s, e) for t, (s, e) in zip(visited, pairwise(levels), strict=True)]
    return Schedule("euler", tuple(steps), tuple(levels[:-1]))


def euler_ancestral(
    alphas_cumprod: Float[Tensor, " T"], num_steps: int, *, spacing: Spacing = "trailing", steps_offset: int = 0
) -> Schedule:
    """Euler steps that go below the next noise level and add the rest as fresh noise (k-diffusion; Ho et al. 2020).

    sigma_up^2 = sigma'^2 (sigma^2 - sigma'^2) / sigma^2, the variance of the posterior of DDPM; none at the last step.
    """
    visited, levels = _sigma_levels(alphas_cumprod, num_steps, spacing, steps_offset)
    steps = []
    for t, (s, e) in zip(visited, pairwise(levels), strict=True):
        sigma, sigma_next = s.noise / s.signal, e.noise / e.signal
        sigma_up = sigma_next * (1.0 - (sigma_next / sigma) ** 2) ** 0.5
        steps.append(diffusion_step(t, s, e, added_noise=e.signal * sigma_up))
    return Schedule("euler_ancestral", tuple(steps), tuple(levels[:-1]))


def lcm(
    alphas_cumprod: Float[Tensor, " T"],
    num_steps: int,
    *,
    original_steps: int = 50,
    timestep_scaling: float = 10.0,
) -> Schedule:
    """Multistep consistency sampling (Luo et al. 2023, algorithm 3): predict the image, add all noise afresh.

    z' = s' (c_out x + c_skip z) + v' n with x the predicted clean latents and c_skip, c_out the boundary condition of
    Song et al. 2023, appendix C, at sigma_data = 0.5; no noise at the last step.

    Args:
        original_steps: of the grid the model was distilled on; the visited timesteps are among them.
        timestep_scaling: of the boundary condition.

    Raises:
        ValueError: for more steps than the grid has.
    """
    if not 1 <= num_steps <= original_steps:
        raise ValueError(f"num_steps must be in 1..{original_steps} with the lcm sampler, got {num_steps}")
    sigmas_of(alphas_cumprod)
    alphas = alphas_cumprod.double()
    grid = np.arange(1, original_steps + 1)[::-1] * (len(alphas) // original_steps) - 1
    visited = grid[np.floor(np.linspace(0, original_steps, num_steps, endpoint=False)).astype(int)].tolist()
    starts = [level(float(alphas[t])) for t in visited]
    steps = []
    for t, start, end in zip(visited, starts, [*starts[1:], CLEAN], strict=True):
        scaled = (t * timestep_scaling) ** 2
        c_skip, c_out = 0.25 / (scaled + 0.25), (scaled / (scaled + 0.25)) ** 0.5
        a = end.signal * (c_out / start.signal + c_skip)
        b = -end.signal * c_out * start.noise / start.signal
        steps.append(with_prior(float(t), a, b, end.noise, start, end))
    return Schedule("lcm", tuple(steps), tuple(starts))


def flow_euler(sigmas: Sequence[float], *, num_train_timesteps: int = 1000) -> Schedule:
    """Euler's method on a rectified flow (Liu et al. 2023; Esser et al. 2024, eq. 1): z' = z + (sigma' - sigma) v.

    Latents are (1 - sigma) x + sigma n; the network answers the velocity v = n - x, which takes eps's place.

    Args:
        sigmas: descending noise levels in (0, 1] that steps start from, already shifted; 0 is appended.
    """
    if not all(0.0 < s <= 1.0 for s in sigmas) or any(s <= e for s, e in pairwise(sigmas)):
        raise ValueError(f"sigmas of a flow must descend from at most 1 to above 0, got {list(sigmas)}")
    levels = [Level(1.0 - s, s) for s in (*sigmas, 0.0)]
    steps = [with_prior(s.noise * num_train_timesteps, 1.0, e.noise - s.noise, 0.0, s, e) for s, e in pairwise(levels)]
    return Schedule("flow_euler", tuple(steps), tuple(levels[:-1]))


def _sigma_levels(
    alphas_cumprod: Tensor, num_steps: int, spacing: Spacing, steps_offset: int
) -> tuple[list[float], list[Level]]:
    """(visited timesteps, the levels there and the clean end), interpolated as the Euler schedulers of diffusers do."""
    sigmas = sigmas_of(alphas_cumprod)
    visited = timesteps(len(sigmas), num_steps, spacing, steps_offset)
    at = np.interp(visited, np.arange(len(sigmas)), sigmas).tolist()
    return visited, [*(level(1.0 / (1.0 + s**2)) for s in at), CLEAN]
