"""Edits of the same images under several strengths and guidance scales, with one inversion for all of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from augment.editing.config import EditConfig, Setting
from augment.editing.inverted import check_counts, invert_batch
from augment.editing.preserve.hints import NOTHING_KNOWN, ObjectHints, Objects
from augment.models.interface import LatentDiffusion


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
    objects: Objects = NOTHING_KNOWN,
) -> Iterator[tuple[Setting, list[Tensor]]]:
    """Yield each setting, and the edits that `edit` makes with it in place of the config's own strength and guidance.

    Args:
        images, source_prompts, target_prompts, seeds, objects: as for `edit`; at least one target prompt.
        config: all other settings.
        settings: at least one.

    Returns:
        pairs of a setting and its edits on the CPU: per image a tensor [K, 3, H, W] in -1..1, in the order of its
        target prompts.
    """
    check_counts(images, source_prompts, target_prompts)
    deepest = config.model_copy(update={"strength": max(setting.strength for setting in settings)})
    hints = ObjectHints(config.preserve, source_prompts, objects)
    latents = model.encode(images)
    inverted = invert_batch(model, images, latents, deepest, hints, seeds=seeds, trajectory_dtype=torch.float32)
    for setting in settings:
        yield setting, inverted.edits(target_prompts, config.model_copy(update=setting._asdict()))
