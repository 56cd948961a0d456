"""What a classifier that was trained before is worth on test: for figures that are read once, in the end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from augment.errors import InputError
from augment.inputs.fit import Fit
from augment.training.augmentations import Augmentation
from augment.training.config import TrainingConfig
from augment.training.data import Pixels, list_sets
from augment.training.look import look_at
from augment.training.networks import build_network
from augment.training.step import arithmetic


def measure_test(config: TrainingConfig, out: Path) -> dict[str, Any]:
    """Return the figures of test, as `report.json` has them, of the weights in the folder of a finished run.

    Args:
        config: of the run, with the test set.
        out: its folder.

    Raises:
        InputError: if there is no test set, or it cannot be used.
    """
    data, sets = config.data, list_sets(config.data)
    if not sets.test:
        raise InputError("data.test: there is no test set to measure on")
    augmentation = Augmentation(config.augmentation, len(sets.class_names), data.image_size, data.mean, data.std)
    network = build_network(config.network, len(sets.class_names), data.image_size)
    network.load_state_dict(load_file(out / "model.safetensors"))
    network = network.to(config.device).to(memory_format=torch.channels_last).eval()

    def logits(images: Tensor) -> Tensor:
        with arithmetic(config):
            found: Tensor = network(images.to(config.device).contiguous(memory_format=torch.channels_last))
        return found.float()

    pixels = Pixels(sets.test, Fit(data.fit, data.image_size), data.cache_mb * 2**20)
    return look_at(logits, pixels, sets.test, sets, augmentation.plain, data.groups).figures
