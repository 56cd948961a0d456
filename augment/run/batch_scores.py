"""Scores of the edits of a batch, whose images may be padded to one size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from torch import Tensor

from augment.inputs.fit import Area
from augment.inputs.tensors import to_images
from augment.scoring.edit_scores import EditScorer
from augment.types import PlannedSource, Variant


class EditToScore(NamedTuple):
    """An edit as it is stored: the number of its image in the batch, what was wanted, and uint8 [H, W, 3]."""

    image: int
    variant: Variant
    pixels: np.ndarray


def edits_to_score(planned: Sequence[PlannedSource], stored: Sequence[np.ndarray]) -> list[EditToScore]:
    """Return all edits of a batch, image by image; `stored` has those of an image, uint8 [K, H, W, 3]."""
    return [
        EditToScore(i, variant, pixels)
        for i, (one, of_one) in enumerate(zip(planned, stored, strict=True))
        for variant, pixels in zip(one.variants, of_one, strict=True)
    ]


def score_edits(
    scorer: EditScorer,
    planned: Sequence[PlannedSource],
    given: Tensor,
    areas: Sequence[Area],
    edits: Sequence[EditToScore],
) -> list[dict[str, float]]:
    """Return the scores of edits, in their order; those of images that are equally large are scored together.

    Args:
        scorer: of the run.
        planned: of each image.
        given: the images, padded, [B, 3, H, W] in -1..1 on the scorer's device.
        areas: of each image, what is not padding.
        edits: without padding.
    """
    scores: dict[int, dict[str, float]] = {}
    for area in dict.fromkeys(areas[edit.image] for edit in edits):
        own = [place for place, edit in enumerate(edits) if areas[edit.image] == area]
        some = list(dict.fromkeys(edits[place].image for place in own))
        found = scorer.score(
            area.cut(given[some]),
            to_images(np.stack([edits[place].pixels for place in own])).to(given.device),
            owners=[some.index(edits[place].image) for place in own],
            labels=[planned[edits[place].image].source.label for place in own],
            prompts=[edits[place].variant.prompt for place in own],
        )
        scores |= dict(zip(own, found, strict=True))
    return [scores[place] for place in range(len(edits))]


def of_images(batch_scores: Sequence[dict[str, float]], counts: Sequence[int]) -> list[tuple[dict[str, float], ...]]:
    """Return a batch's scores by image, of which each has that many edits."""
    found = iter(batch_scores)
    return [tuple(next(found) for _ in range(count)) for count in counts]
