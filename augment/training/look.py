"""A look at a set of pictures: what a network predicts of each, and the figures of that."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from augment.errors import TrainingError
from augment.training.data import Pixels, TrainingSets, groups_of
from augment.training.metrics import measure_predictions
from augment.training.process_group import ALONE, Ranks
from augment.types import Source

BATCH_SIZE = 128


@dataclass(frozen=True)
class Looked:
    """What was seen.

    Attributes:
        sources: the pictures.
        probabilities: of the classes, float64 [N, C].
        targets: the true classes, int64 [N].
        figures: see `augment.training.metrics.measure_predictions`.
    """

    sources: Sequence[Source]
    probabilities: np.ndarray
    targets: np.ndarray
    figures: dict[str, Any]


@torch.no_grad()
def look_at(
    logits: Callable[[Tensor], Tensor],
    pixels: Pixels,
    sources: Sequence[Source],
    sets: TrainingSets,
    plain: Callable[[Tensor], Tensor],
    groups: Sequence[str],
    ranks: Ranks = ALONE,
) -> Looked:
    """Return the predictions of a network for some pictures, and their figures.

    The processes look at different pictures, in the batches in which one process alone would, and all return the same.

    Args:
        logits: images [B, 3, H, W], as `plain` gives them -> logits, float32 [B, C].
        pixels: of the sources.
        plain: pixels, uint8 [B, 3, H, W], -> images.
        groups: names of the divisions into groups.

    Raises:
        TrainingError: if what the network says is no number, as after a step that was too large.
    """
    starts = range(0, len(sources), BATCH_SIZE)

    def predict() -> list[np.ndarray]:
        parts = []
        for number in ranks.part(len(starts)):
            chunk = pixels.take(range(starts[number], min(starts[number] + BATCH_SIZE, len(sources))))
            images = plain(torch.from_numpy(chunk).permute(0, 3, 1, 2))
            parts.append(logits(images).double().softmax(dim=1).cpu().numpy())
        return parts

    probabilities = np.concatenate([part for parts in ranks.gather(ranks.agree(predict)) for part in parts])
    if not np.isfinite(probabilities).all():
        raise TrainingError(
            "the network's answers are no numbers. Lower optimizer.learning_rate or set dtype to float32, and choose "
            "another --out"
        )
    targets = sets.targets(sources)
    figures = measure_predictions(probabilities, targets, sets.class_names, groups_of(sources, groups))
    return Looked(sources, probabilities, targets, figures)
