"""Samplers as tables of affine steps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

import numpy as np
from jaxtyping import Float
from torch import Tensor

from augment.diffusion.levels import (
    Respacing,
    Spacing,
    level,
    respaced_levels,
    timesteps,
    visited_levels,
)
from augment.diffusion.step import CLEAN, AffineStep, Level, diffusion_step, quotient

Joints = Literal["closed", "diffusers"]

_ZERO_SIGNAL = (
    "the noise schedule ends at zero signal (rescale_betas_zero_snr: true in the scheduler's config); the step that "
    "starts there divides by zero and has no inverse"
)


@dataclass(frozen=True)
class Schedule:
    """Hold the steps of a sampler in the order in which sampling takes them, from noise to image.

    Attributes:
        name: of the sampler, as it is recorded with every edit.
        steps: `steps[0]` starts at the noisiest level.
        is_closed: whether each step starts at the level where the one before it ended, and the last one ends in clean
            latents. It is checked; False lets a table pass that leaves gaps on purpose, such as diffusers' own DDIM.

    Raises:
        ValueError: without steps, or if a schedule that is said to be closed is not.
    """

    name: str
    steps: tuple[AffineStep, ...]
    is_closed: bool = True

    def __post_init__(self) -> None:
        if not self.steps:
            raise ValueError(f"schedule {self.name!r} has no steps")
        if not self.is_closed:
            return
        for i, (step, following) in enumerate(pairwise(self.steps)):
            if step.end != following.start:
                raise ValueError(
                    f"schedule {self.name!r} is not closed: step {i} ends at {step.end} and step {i + 1} starts at "
                    f"{following.start}; give them one level, or say is_closed=False"
                )
        if self.steps[-1].end != CLEAN:
            raise ValueError(
                f"schedule {self.name!r} is not closed: its last step ends at {self.steps[-1].end} and not at {CLEAN}; "
                "add the step that removes the rest of the noise, or say is_closed=False"
            )

    def __len__(self) -> int:
        return len(self.steps)

    @property
    def start(self) -> Level:
        """Return the level of the latents that the first step starts from."""
        return self.steps[0].start

    @property
    def is_stochastic(self) -> bool:
        """Return whether sampling adds noise on the way."""
        return any(step.c != 0.0 for step in self.steps)

    def last_part(self, strength: float) -> Schedule:
        """Return the last `strength` share of the steps, as image-to-image takes them (Meng et al. 2022, SDEdit).

        Inversion walks a schedule backwards, so inverting this stops part of the way to pure noise.

        Args:
            strength: 0 < strength <= 1; rounded down to whole steps as diffusers does, at least one.

        Raises:
            ValueError: if strength is outside that range, or that share has a step that cannot be walked.
        """
        if not 0.0 < strength <= 1.0:
            raise ValueError(f"strength must be in (0, 1], got {strength}")
        count = max(1, min(len(self.steps), int(len(self.steps) * strength + 1e-6)))
        part = replace(self, steps=self.steps[-count:])
        if part.is_walkable:
            return part
        raise ValueError(f"{_ZERO_SIGNAL}, and strength {strength} takes it: {self._walkable_part()}")

    @property
    def is_walkable(self) -> bool:
        """Return whether every step can be walked: whether none starts from noise without any signal."""
        return not any(step.is_singular for step in self.steps)

    def check_walkable(self) -> None:
        """Raise ValueError unless every step can be walked."""
        if not self.is_walkable:
            raise ValueError(f"{_ZERO_SIGNAL}: {self._walkable_part()}")

    def _walkable_part(self) -> str:
        """Return advice: the largest strength whose steps can all be walked."""
        largest = sum(not step.is_singular for step in self.steps) / len(self.steps)
        if largest == 0.0:
            return "take more than one step and a strength below 1, or use a model without it"
        return f"take a strength of at most {math.floor(largest * 1000) / 1000}, or use a model without it"


def ddim(
    alphas_cumprod: Float[Tensor, " T"],
    num_steps: int,
    *,
    spacing: Spacing = "trailing",
    steps_offset: int = 0,
    joints: Joints = "closed",
    final_alpha_cumprod: float = 1.0,
) -> Schedule:
    """Return the table of deterministic DDIM (Song et al. 2021, eq. 12 with sigma = 0).

    With alpha the cumulative product where the step starts and alpha' where it ends,
    z' = sqrt(alpha' / alpha) z + (sqrt(1 - alpha') - sqrt(alpha' / alpha) sqrt(1 - alpha)) eps.

    Every step ends where the next one starts, and the last one ends in clean latents (alpha' = 1); the inverse of that
    last step depends on the network alone. Two habits of diffusers' `DDIMScheduler` are not followed. It ends each step
    a fixed stride of T // num_steps timesteps further, which is not where the next one starts when num_steps does not
    divide T and spacing is not `leading`. And models saved with `set_alpha_to_one: false`, such as Stable Diffusion 1,
    end at the first training timestep and so leave 3 % of noise in the latents.

    Args:
        alphas_cumprod: of the training schedule, descending.
        num_steps: number of steps, 1 to T.
        spacing: which timesteps are visited: `trailing` starts at the last one, `leading` ends at `steps_offset`,
            `linspace` visits both ends.
        steps_offset: what `leading` adds to its timesteps.
        joints: `diffusers` gives the table of `DDIMScheduler`, gaps included, to compare with.
        final_alpha_cumprod: where the last step of `diffusers` joints ends; closed schedules do not read it.

    Raises:
        ValueError: for an impossible number of steps.
    """
    alphas = alphas_cumprod.double()
    visited = [round(t) for t in timesteps(len(alphas), num_steps, spacing, steps_offset)]
    starts = [level(float(alphas[t])) for t in visited]
    ends = [*starts[1:], CLEAN]
    if joints == "diffusers":
        stride = len(alphas) // num_steps
        ends = [level(float(alphas[t - stride]) if t >= stride else final_alpha_cumprod) for t in visited]
    steps = [diffusion_step(float(t), s, e) for t, s, e in zip(visited, starts, ends, strict=True)]
    return Schedule("ddim", tuple(steps), is_closed=joints == "closed")


def euler(
    alphas_cumprod: Float[Tensor, " T"],
    num_steps: int,
    *,
    spacing: Spacing = "trailing",
    steps_offset: int = 0,
    respacing: Respacing = "none",
    sigma_min: float | None = None,
    sigma_max: float | None = None,
) -> Schedule:
    """Return the table of Euler's method on the probability-flow ODE (Karras et al. 2022, algorithm 1, uncorrected).

    In unit-variance latents that is DDIM, between noise levels interpolated at fractional timesteps. diffusers'
    `EulerDiscreteScheduler` keeps latents scaled by sqrt(1 + sigma^2); ours are that divided out.

    Args:
        alphas_cumprod: of the training schedule, descending.
        num_steps: number of steps, 1 to T.
        spacing, steps_offset: which timesteps are visited, as in `ddim`.
        respacing: `karras` or `exponential` keep the first and last noise level of `spacing` and space the others by
            the rule of that name (`respaced_levels`).
        sigma_min, sigma_max: noise per unit of image where the last and the first step start, instead of those of
            `spacing`; only `karras` and `exponential` read them, as in diffusers.

    Raises:
        ValueError: for an impossible number of steps, a sigma_min that is not below sigma_max, or a respacing from a
            noise level without any image.
    """
    visited, levels = visited_levels(alphas_cumprod, num_steps, spacing, steps_offset)
    if respacing != "none":
        largest = quotient(levels[0].noise, levels[0].signal) if sigma_max is None else sigma_max
        smallest = levels[-2].noise / levels[-2].signal if sigma_min is None else sigma_min
        visited, levels = respaced_levels(alphas_cumprod, num_steps, respacing, largest, smallest)
    steps = [diffusion_step(t, s, e) for t, (s, e) in zip(visited, pairwise(levels), strict=True)]
    return Schedule("euler", tuple(steps))


def euler_ancestral(
    alphas_cumprod: Float[Tensor, " T"], num_steps: int, *, spacing: Spacing = "trailing", steps_offset: int = 0
) -> Schedule:
    """Return the table of Euler steps that go below the next noise level and add the rest as fresh noise (k-diffusion).

    sigma_up^2 = sigma'^2 (sigma^2 - sigma'^2) / sigma^2, the variance of the posterior of DDPM (Ho et al. 2020, eq. 7);
    none at the last step.

    Args:
        alphas_cumprod: of the training schedule, descending.
        num_steps: number of steps, 1 to T.
        spacing, steps_offset: which timesteps are visited, as in `ddim`.

    Raises:
        ValueError: for an impossible number of steps.
    """
    visited, levels = visited_levels(alphas_cumprod, num_steps, spacing, steps_offset)
    steps = []
    for t, (s, e) in zip(visited, pairwise(levels), strict=True):
        sigma, sigma_next = quotient(s.noise, s.signal), e.noise / e.signal
        sigma_up = sigma_next * (1.0 - (sigma_next / sigma) ** 2) ** 0.5
        steps.append(diffusion_step(t, s, e, added_noise=e.signal * sigma_up))
    return Schedule("euler_ancestral", tuple(steps))


def lcm(
    alphas_cumprod: Float[Tensor, " T"],
    num_steps: int,
    *,
    original_steps: int = 50,
    timestep_scaling: float = 10.0,
) -> Schedule:
    """Return the table of multistep consistency sampling (Luo et al. 2023, algorithm 3).

    Each step predicts the image and adds all noise afresh: z' = s' (c_out x + c_skip z) + v' n with x the predicted
    clean latents and c_skip, c_out the boundary condition of Song et al. 2023, appendix C, at sigma_data = 0.5; no
    noise at the last step.

    Args:
        alphas_cumprod: of the training schedule, descending.
        num_steps: number of steps, 1 to `original_steps`.
        original_steps: of the grid the model was distilled on; the visited timesteps are among them.
        timestep_scaling: of the boundary condition.

    Raises:
        ValueError: for more steps than the grid has.
    """
    if not 1 <= num_steps <= original_steps:
        raise ValueError(f"num_steps must be in 1..{original_steps} with the lcm sampler, got {num_steps}")
    alphas = alphas_cumprod.double()
    grid = np.arange(1, original_steps + 1)[::-1] * (len(alphas) // original_steps) - 1
    visited = grid[np.floor(np.linspace(0, original_steps, num_steps, endpoint=False)).astype(int)].tolist()
    starts = [level(float(alphas[t])) for t in visited]
    steps = []
    for t, start, end in zip(visited, starts, [*starts[1:], CLEAN], strict=True):
        scaled = (t * timestep_scaling) ** 2
        c_skip, c_out = 0.25 / (scaled + 0.25), (scaled / (scaled + 0.25)) ** 0.5
        a = end.signal * (quotient(c_out, start.signal) + c_skip)
        b = -quotient(end.signal * c_out * start.noise, start.signal)
        steps.append(AffineStep(float(t), a, b, end.noise, start, end))
    return Schedule("lcm", tuple(steps))


def flow_euler(sigmas: Sequence[float], *, num_train_timesteps: int = 1000) -> Schedule:
    """Return the table of Euler's method on a rectified flow: z' = z + (sigma' - sigma) v.

    (Liu et al. 2023; Esser et al. 2024, eq. 1.) Latents are (1 - sigma) x + sigma n; the network answers the velocity
    v = n - x, which takes eps's place.

    Args:
        sigmas: descending noise levels in (0, 1] that steps start from, already shifted; 0 is appended.
        num_train_timesteps: what the network is told at sigma = 1.

    Raises:
        ValueError: if the sigmas do not descend within that range.
    """
    if not all(0.0 < s <= 1.0 for s in sigmas) or any(s <= e for s, e in pairwise(sigmas)):
        raise ValueError(f"sigmas of a flow must descend from at most 1 to above 0, got {list(sigmas)}")
    levels = [Level(1.0 - s, s) for s in (*sigmas, 0.0)]
    steps = [AffineStep(s.noise * num_train_timesteps, 1.0, e.noise - s.noise, 0.0, s, e) for s, e in pairwise(levels)]
    return Schedule("flow_euler", tuple(steps))
