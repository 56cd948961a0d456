"""What a classifier that was trained before says of other pictures: for figures that are read once, in the end."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int, UInt8
from safetensors.torch import load_file
from torch import Tensor

from augment.errors import InputError
from augment.inputs.fit import Fit
from augment.training.augmentations import Augmentation
from augment.training.config import TrainingConfig
from augment.training.data import Pixels, list_sets
from augment.training.look import BATCH_SIZE, look_at
from augment.training.networks import build_network
from augment.training.step import logits_of
from augment.types import Source


class TrainedClassifier:
    """The network of a finished run.

    Args:
        config: of the run.
        out: its folder.
        num_classes: of the run.
    """

    def __init__(self, config: TrainingConfig, out: Path, num_classes: int) -> None:
        self.config, data = config, config.data
        self.plain = Augmentation(config.augmentation, num_classes, data.image_size, data.mean, data.std).plain
        network = build_network(config.network, num_classes, data.image_size)
        network.load_state_dict(load_file(out / "model.safetensors"))
        network = network.to(config.device).to(memory_format=torch.channels_last)
        self.logits = logits_of(network.eval(), config)

    def pixels(self, sources: Sequence[Source]) -> Pixels:
        """Return the pixels of pictures, fitted as they were for training."""
        data = self.config.data
        return Pixels(sources, Fit(data.fit, data.image_size), data.cache_mb * 2**20)

    @torch.no_grad()
    def predict(self, pixels: UInt8[Tensor, "N 3 H W"]) -> Int[np.ndarray, " N"]:
        """Return the place of the most probable class of each picture."""
        parts = [self.logits(self.plain(chunk)).argmax(dim=1).cpu() for chunk in pixels.split(BATCH_SIZE)]
        return torch.cat(parts).numpy()


def measure_test(config: TrainingConfig, out: Path) -> dict[str, Any]:
    """Return the figures of test, as `report.json` has them, of the weights in the folder of a finished run.

    Args:
        config: of the run, with the test set.
        out: its folder.

    Raises:
        InputError: if there is no test set, or it cannot be used.
    """
    sets = list_sets(config.data)
    if not sets.test:
        raise InputError("data.test: there is no test set to measure on")
    trained = TrainedClassifier(config, out, len(sets.class_names))
    groups = config.data.groups
    return look_at(trained.logits, trained.pixels(sets.test), sets.test, sets, trained.plain, groups).figures
