"""The noise of samplers that add some, drawn per sample and kept, so that inversion and sampling use the same."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from augment.diffusion.schedule import Schedule
from augment.diffusion.step import AffineStep
from augment.seeding import seed_for


def seeded_noise(shape: tuple[int, ...], seeds: Sequence[int]) -> Float[Tensor, "B C H W"]:
    """Return standard normal latents, each from its own seed, so that no sample depends on its place in the batch.

    Args:
        shape: of one sample, (C, H, W).
        seeds: one per sample.
    """
    return torch.stack([torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds])


def step_noise(schedule: Schedule, latents: Float[Tensor, "B C H W"], seeds: Sequence[int]) -> list[Tensor] | None:
    """Return independent standard normal noise for each step in sampling order; None for samplers that add none.

    A sample's noise at a timestep depends on its seed and the timestep only.

    Args:
        schedule: the steps.
        latents: what to make noise for: its shape and device.
        seeds: one per sample.

    Raises:
        ValueError: if there is not one seed for each sample.
    """
    if not schedule.is_stochastic:
        return None
    if len(seeds) != len(latents):
        raise ValueError(
            f"sampler {schedule.name!r} adds noise in its steps: {len(latents)} images need one seed each, "
            f"{len(seeds)} were given"
        )
    shape = tuple(latents.shape[1:])
    return [
        seeded_noise(shape, [seed_for("step noise", s, step.timestep) for s in seeds]).to(latents.device)
        for step in schedule.steps
    ]


def matched_noise(
    step: AffineStep,
    after: Float[Tensor, "B C H W"],
    clean: Float[Tensor, "B C H W"],
    fresh: Float[Tensor, "B C H W"],
) -> Float[Tensor, "B C H W"]:
    """Return noise n as it is distributed given what the step led to: a draw from q(n | z', x).

    A step that adds noise ends in z' = s' x + sqrt(v'^2 - c^2) e + c n with e, n independent and standard normal. Given
    z', whose noise is m = (z' - s' x) / v', they are no longer independent:

        n = (c / v') m + sqrt(1 - (c / v')^2) w,   w standard normal

    Noise that ignores z' is a solvable choice too, but z' - c n then holds more noise than the step can have left, and
    what inversion finds is far from standard normal.

    Args:
        step: the step, with its c and the level of its end.
        after: z'.
        clean: x, the image's latents.
        fresh: w.
    """
    if step.c == 0.0:
        return fresh
    share = min(step.c / step.end.noise, 1.0)
    own = (after - step.end.signal * clean) / step.end.noise
    return share * own + (1.0 - share**2) ** 0.5 * fresh
