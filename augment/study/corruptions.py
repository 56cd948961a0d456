"""How a classifier does on test pictures that are disturbed as cameras and files disturb them.

Six kinds after ImageNet-C (Hendrycks & Dietterich 2019), one severity each, chosen for pictures of 64 pixels; so the
figures are not comparable with those of ImageNet-C.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import functional as transforms

from augment.scoring.intervals import Estimate, mean_of
from augment.seeding import seed_for
from augment.storage.tar import write_bytes_atomic
from augment.training.config import TrainingConfig
from augment.training.data import list_sets
from augment.training.measure import TrainedClassifier

NOISE_SIGMA, BLUR_SIGMA, JPEG_QUALITY, CONTRAST, BRIGHTNESS = 0.1, 1.5, 15, 0.35, 1.7
Corruption = Callable[[Tensor], Tensor]


def _noise(pixels: Tensor) -> Tensor:
    random = torch.Generator().manual_seed(seed_for("corruption", "noise"))
    noisy = pixels.float() + 255 * NOISE_SIGMA * torch.randn(pixels.shape, generator=random)
    return noisy.clamp(0, 255).round().byte()


def _blur(pixels: Tensor) -> Tensor:
    blurred: Tensor = transforms.gaussian_blur(pixels, [9, 9], [BLUR_SIGMA, BLUR_SIGMA])
    return blurred


def _pixelate(pixels: Tensor) -> Tensor:
    small = F.interpolate(pixels.float(), scale_factor=0.5, mode="area")
    return F.interpolate(small, size=pixels.shape[2:], mode="nearest").round().byte()


def _jpeg(pixels: Tensor) -> Tensor:
    changed = []
    for picture in pixels.permute(0, 2, 3, 1).numpy():
        file = io.BytesIO()
        Image.fromarray(picture).save(file, "JPEG", quality=JPEG_QUALITY)
        changed.append(np.asarray(Image.open(file)))
    return torch.from_numpy(np.stack(changed)).permute(0, 3, 1, 2)


def _contrast(pixels: Tensor) -> Tensor:
    changed: Tensor = transforms.adjust_contrast(pixels, CONTRAST)
    return changed


def _brightness(pixels: Tensor) -> Tensor:
    changed: Tensor = transforms.adjust_brightness(pixels, BRIGHTNESS)
    return changed


# Pixels, uint8 [N, 3, H, W] -> the same, disturbed; the same every time.
CORRUPTIONS: dict[str, Corruption] = {
    "noise": _noise,
    "blur": _blur,
    "pixelate": _pixelate,
    "jpeg": _jpeg,
    "contrast": _contrast,
    "brightness": _brightness,
}


def corrupted_accuracy(config: TrainingConfig, folder: Path) -> Estimate:
    """Return the accuracy of a finished run on its test pictures under all `CORRUPTIONS`, the mean of the kinds.

    The interval is over the pictures, each with its share of kinds that are recognised.

    Args:
        config: of the run.
        folder: of the run; keeps the answer, and the accuracy of every kind, in `corrupted.json`.
    """
    kept = folder / "corrupted.json"
    if not kept.exists():
        sets = list_sets(config.data)
        classifier = TrainedClassifier(config, folder, len(sets.class_names))
        pixels = torch.from_numpy(classifier.pixels(sets.test).take(range(len(sets.test)))).permute(0, 3, 1, 2)
        targets = sets.targets(sets.test)
        right = {kind: classifier.predict(change(pixels)) == targets for kind, change in CORRUPTIONS.items()}
        estimate = mean_of(np.mean(list(right.values()), axis=0).tolist())
        content = {**asdict(estimate), "kinds": {kind: float(hits.mean()) for kind, hits in right.items()}}
        write_bytes_atomic(kept, (json.dumps(content, indent=2) + "\n").encode())
    content = json.loads(kept.read_text())
    return Estimate(content["value"], content["low"], content["high"])
