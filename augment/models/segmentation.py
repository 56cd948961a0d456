"""Object masks from a segmentation model of transformers, for datasets that have none."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import transformers
from jaxtyping import UInt8
from PIL import Image

from augment.models.segmentation_files import (
    TEXT_MODELS,
    SegmentationConfig,
    architecture_of,
    labels_of,
    names,
    pinned_segmentation,
)
from augment.models.strict import explained, load_network, quiet

logger = logging.getLogger(__name__)


class Segmenter:
    """Say which pixels of a picture show the object that a word names.

    Models with labels, made for semantic segmentation, give each pixel one; the mask is 1 where it names the word.
    CLIPSeg (Luddecke & Ecker 2022) reads the word; the mask is the sigmoid of its answer.

    Pictures are looked at one by one, in float32, so that a mask depends on its picture alone.
    """

    def __init__(self, config: SegmentationConfig, network: Any, processor: Any, tokenizer: Any | None) -> None:
        self._words, self._name = config.words, config.name
        self._network, self._processor, self._tokenizer = network.eval(), processor, tokenizer
        self._labels: Mapping[int, str] = {} if tokenizer else labels_of(network.config.id2label)
        self._said: set[str] = set()

    @torch.no_grad()
    def mask(self, pixels: UInt8[np.ndarray, "H W 3"], class_name: str) -> UInt8[np.ndarray, "H W 1"]:
        """Return the share of each pixel to keep, 0 to 255; all 0 where the model has no label for the class.

        Args:
            pixels: of a picture, of any size.
            class_name: of its object, which `segmentation.words` may call otherwise.
        """
        word = self._words.get(class_name, class_name)
        share = self._asked(pixels, word) if self._tokenizer else self._labelled(pixels, word)
        return np.asarray(share.mul(255).round().to(torch.uint8).cpu())[..., None]

    def _asked(self, pixels: np.ndarray, word: str) -> torch.Tensor:
        assert self._tokenizer is not None
        inputs = self._tokenizer([word], padding=True, truncation=True, return_tensors="pt")
        inputs |= self._processor(images=Image.fromarray(pixels), return_tensors="pt")
        answer = self._network(**{name: value.to(self._network.device) for name, value in inputs.items()}).logits
        answer = answer.view(1, 1, *answer.shape[-2:]).float()  # the library drops the batch of one
        return F.interpolate(answer, pixels.shape[:2], mode="bilinear", align_corners=False)[0, 0].sigmoid()

    def _labelled(self, pixels: np.ndarray, word: str) -> torch.Tensor:
        wanted = [number for number, label in self._labels.items() if names(label, word)]
        if not wanted and word not in self._said:
            self._said.add(word)
            logger.warning(
                "segmentation.name: %r has no label for %r: nothing of its pictures is kept", self._name, word
            )
        if not wanted:
            return torch.zeros(pixels.shape[:2])
        inputs = self._processor(images=Image.fromarray(pixels), return_tensors="pt")
        found = self._network(**{name: value.to(self._network.device) for name, value in inputs.items()})
        labels = self._processor.post_process_semantic_segmentation(found, target_sizes=[pixels.shape[:2]])[0]
        return torch.isin(labels.cpu(), torch.tensor(wanted)).float()


def load_segmenter(config: SegmentationConfig, device: str = "cpu") -> Segmenter:
    """Load a folder that `save_pretrained` wrote, or a model of the hub, in float32.

    Raises:
        ModelError: if it cannot be found or read, is no such model, or its weights do not fit its config.
    """
    quiet()
    if not config.revision:
        config = pinned_segmentation(config)
    what = f"segmentation.name {config.name!r}"
    architecture = architecture_of(config)
    network = load_network(
        getattr(transformers, architecture),
        config.name,
        what,
        "network",
        dtype=torch.float32,
        **config.download_revision,
    )
    with explained(what, "image processor"):
        processor = transformers.AutoImageProcessor.from_pretrained(config.name, **config.download_revision)
    tokenizer = None
    if architecture in TEXT_MODELS:
        with explained(what, "tokenizer"):
            tokenizer = transformers.AutoTokenizer.from_pretrained(config.name, **config.download_revision)
    return Segmenter(config, network.to(device), processor, tokenizer)
