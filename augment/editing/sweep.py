"""Edits of the same images under several strengths and guidance scales, with one inversion for all of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from augment.diffusion import sample
from augment.editing.config import EditConfig
from augment.editing.edits import full_schedule, invert_latents, size_of
from augment.inversion import Inversion
from augment.models.interface import LatentDiffusion


class Setting(NamedTuple):
    """The two settings of an edit that need no inversion of their own."""

    strength: float
    guidance_scale: float


def start_of_last_steps(inversion: Inversion, steps: int) -> tuple[Float[Tensor, "B C H W"], list[Tensor] | None]:
    """Return the latents from which the last `steps` steps lead to the image, and the noise that these steps add.

    Inversion begins at the image, and a step's noise depends on its timestep only. So its first k steps are the whole
    inversion to a strength that takes k steps, and the inversion to the largest strength has all smaller ones in it.

    Args:
        inversion: with its trajectory, in float32.
        steps: 1 to those that were inverted.
    """
    assert inversion.trajectory is not None
    passed = [inversion.latents, *inversion.trajectory]  # in sampling order, the last being the given latents
    return passed[-steps - 1], None if inversion.noise is None else inversion.noise[-steps:]


@torch.no_grad()
def sweep(
    model: LatentDiffusion,
    images: Float[Tensor, "B 3 H W"],
    source_prompts: Sequence[str],
    target_prompts: Sequence[Sequence[str]],
    config: EditConfig,
    settings: Sequence[Setting],
    *,
    seeds: Sequence[int] = (),
) -> Iterator[tuple[Setting, list[Tensor]]]:
    """Yield each setting, and the edits that `edit` makes with it in place of the config's own strength and guidance.

    Args:
        images, source_prompts, target_prompts, seeds: as for `edit`; at least one target prompt.
        config: all other settings; nothing is preserved.
        settings: at least one.

    Returns:
        pairs of a setting and its edits on the CPU: per image a tensor [K, 3, H, W] in -1..1, in the order of its
        target prompts.

    Raises:
        ValueError: if the config preserves something: how much, depends on the inversion to each strength alone.
    """
    if config.preserve != "none":
        raise ValueError(f"a sweep makes edits in which nothing is preserved, not with preserve: {config.preserve}")
    full = full_schedule(model, config, size_of(images))
    source = model.embed(source_prompts)
    deepest = config.model_copy(update={"strength": max(setting.strength for setting in settings)})
    inversion = invert_latents(
        model, model.encode(images), source, seeds, deepest, full, trajectory_dtype=torch.float32
    )
    counts = [len(prompts) for prompts in target_prompts]
    target = model.embed([prompt for prompts in target_prompts for prompt in prompts])
    owners = torch.arange(len(images)).repeat_interleave(torch.tensor(counts)).to(model.device)
    for setting in settings:
        schedule = full.last_part(setting.strength)
        latents, noise = start_of_last_steps(inversion, len(schedule))
        of_edits = None if noise is None else [n[owners] for n in noise]
        edited = sample(model.denoiser(target, setting.guidance_scale), latents[owners], schedule, noise=of_edits)
        yield setting, list(model.decode(edited).cpu().split(counts))
