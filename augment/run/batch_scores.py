"""Scores of the edits of a batch, whose images may be padded to one size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from torch import Tensor

from augment.editing.edits import EditResult
from augment.inputs.fit import Area
from augment.inputs.tensors import to_images
from augment.scoring import psnr
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
    at_once: int | None = None,
) -> list[dict[str, float]]:
    """Return the scores of edits, in their order; those of images that are equally large are scored together.

    Args:
        scorer: of the run.
        planned: of each image.
        given: the images, padded, [B, 3, H, W] in -1..1 on the scorer's device.
        areas: of each image, what is not padding.
        edits: without padding.
        at_once: of them; None: all.
    """
    scores: dict[int, dict[str, float]] = {}
    for area in dict.fromkeys(areas[edit.image] for edit in edits):
        own = [place for place, edit in enumerate(edits) if areas[edit.image] == area]
        for part in (own[i : i + (at_once or len(own))] for i in range(0, len(own), at_once or len(own))):
            scores |= dict(
                zip(part, _together(scorer, planned, area.cut(given), [edits[p] for p in part]), strict=True)
            )
    return [scores[place] for place in range(len(edits))]


def _together(
    scorer: EditScorer, planned: Sequence[PlannedSource], given: Tensor, edits: Sequence[EditToScore]
) -> list[dict[str, float]]:
    """Return the scores of edits of images [B, 3, H, W] that are all as large."""
    some = list(dict.fromkeys(edit.image for edit in edits))
    return scorer.score(
        given[some],
        to_images(np.stack([edit.pixels for edit in edits])).to(given.device),
        owners=[some.index(edit.image) for edit in edits],
        labels=[planned[edit.image].source.label for edit in edits],
        prompts=[edit.variant.prompt for edit in edits],
    )


def of_images(batch_scores: Sequence[dict[str, float]], counts: Sequence[int]) -> list[tuple[dict[str, float], ...]]:
    """Return a batch's scores by image, of which each has that many edits."""
    found = iter(batch_scores)
    return [tuple(next(found) for _ in range(count)) for count in counts]


def psnrs_of(result: EditResult, given: Tensor, areas: Sequence[Area]) -> tuple[list[float], list[float]]:
    """Return the PSNR in dB of each reconstruction, and of each round trip, without the padding.

    Args:
        result: of a batch.
        given: its images, padded, [B, 3, H, W] in -1..1 on the CPU.
        areas: of each image, what is not padding.
    """
    reconstructions, round_trips = (
        [psnr(area.cut(made[i : i + 1]), area.cut(given[i : i + 1])).item() for i, area in enumerate(areas)]
        for made in (result.reconstruction, result.round_trip)
    )
    return reconstructions, round_trips
