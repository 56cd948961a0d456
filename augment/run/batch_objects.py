"""Where the objects of a batch are: what the dataset says, and what a segmentation model sees where it says nothing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from augment.editing.config import EditConfig
from augment.editing.preserve.hints import Objects
from augment.inputs.fit import Fit
from augment.models.segmentation import Segmenter, load_segmenter
from augment.prompts.templates import noun
from augment.run.batch import DecodedImage
from augment.run.worker_config import BatchConfig


def segmenter_of(config: BatchConfig) -> Segmenter | None:
    """Return the model that finds the objects, loaded; None where none is wanted."""
    if config.segmentation is None or config.editing.preserve != "mask":
        return None
    return load_segmenter(config.segmentation, config.model.torch_device)


def objects_of(
    batch: Sequence[DecodedImage], editing: EditConfig, fit: Fit, segmenter: Segmenter | None = None
) -> Objects:
    """Return where the objects are: their words, and masks if they are wanted.

    An image that has no mask gets that of the segmenter; without one nothing of it is kept.

    Args:
        batch: fitted, and moved where pictures are.
        editing: says what is wanted.
        fit: of the images, which pads masks as it pads them.
        segmenter: finds the object that the class word names.
    """
    words = [editing.preserve_word or noun(image.planned.source.class_name) for image in batch]
    if editing.preserve != "mask":
        return Objects(words)
    masks = np.stack([fit.padded(_mask(image, segmenter)) for image in batch])
    return Objects(words, torch.from_numpy(masks).permute(0, 3, 1, 2) / 255)


def _mask(image: DecodedImage, segmenter: Segmenter | None) -> np.ndarray:
    if image.mask is not None:
        return image.mask
    if segmenter is not None:
        return segmenter.mask(image.pixels, noun(image.planned.source.class_name))
    return np.zeros((*image.pixels.shape[:2], 1), np.uint8)
