"""The prompts of a batch of edits, embedded, and whose edit each is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from augment.models.interface import LatentDiffusion, PromptEmbeds


@dataclass(frozen=True)
class Prompts:
    """Hold the prompts of a batch of edits.

    Attributes:
        source_texts, source: one per image, as text and embedded.
        target_texts, target: one per edit.
        owners: the image of each edit.
    """

    source_texts: Sequence[str]
    source: PromptEmbeds
    target_texts: Sequence[str]
    target: PromptEmbeds
    owners: Int[Tensor, " N"]


def edit_prompts(
    model: LatentDiffusion, sources: Sequence[str], source: PromptEmbeds, targets: Sequence[Sequence[str]]
) -> Prompts:
    """Return the prompts of all edits of a batch, image by image.

    Args:
        sources, source: one prompt per image, as text and embedded.
        targets: for each image the prompts of its edits; there is one or more in all.
    """
    flat = [prompt for prompts in targets for prompt in prompts]
    counts = torch.tensor([len(prompts) for prompts in targets])
    owners = torch.arange(len(targets)).repeat_interleave(counts).to(model.device)
    return Prompts(sources, source, flat, model.embed(flat), owners)
