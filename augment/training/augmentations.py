"""Classical augmentation by torchvision's transforms, with random numbers that depend on a seed only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor
from torchvision.transforms import v2

from augment.seeding import seed_for
from augment.training.config import AugmentationConfig, Deviation, Mean

Transform = Callable[..., Any]


class Augmentation:
    """Turn pixels into what a network trains on: each picture gets random changes of its own, then batches are mixed.

    Args:
        config: what is on.
        num_classes: length of the mixed labels.
        image_size: side of the pictures in pixels.
        mean, std: of the values in 0..1, of all colours or of each; the network sees (value - mean) / std.
    """

    def __init__(
        self,
        config: AugmentationConfig,
        num_classes: int,
        image_size: int,
        mean: Mean = 0.5,
        std: Deviation = 0.5,
    ) -> None:
        self.image_size, self._mean, self._std = image_size, _of_colours(mean), _of_colours(std)
        self._of_each = _of_each(config, image_size)
        self._erase = v2.RandomErasing(config.random_erasing) if config.random_erasing else None
        self._mix = _mixing(config, num_classes)

    @property
    def mixes(self) -> bool:
        """Return whether each picture of a batch is mixed with the one before it, the first with the last."""
        return self._mix is not None

    def plain(self, pixels: UInt8[Tensor, "B 3 H W"]) -> Float[Tensor, "B 3 H W"]:
        """Return pictures as the network sees them, unchanged otherwise."""
        return (pixels.float() / 255.0 - self._mean) / self._std

    def __call__(
        self,
        pixels: UInt8[Tensor, "B 3 H W"],
        labels: Int[Tensor, " B"],
        seed: int,
        places: Sequence[int] | None = None,
    ) -> tuple[Float[Tensor, "B 3 H W"], Tensor]:
        """Return augmented pictures and their targets: labels [B], or shares of the classes [B, C] where batches mix.

        What happens to a picture depends on the seed and its place in the batch, so some pictures of a batch are
        changed as they are among all of it. Torch's own generator is left as it was.

        Args:
            seed: of the batch.
            places: of the pictures in their batch; None if they are all of it.
        """
        with torch.random.fork_rng(devices=[]):
            if self._of_each or self._erase is not None:
                chosen = range(len(pixels)) if places is None else places
                images = torch.cat(
                    [
                        self._changed(picture, seed_for(seed, place))
                        for picture, place in zip(pixels.split(1), chosen, strict=True)
                    ]
                )
            else:
                images = self.plain(pixels)
            if self._mix is not None:
                _seed_torch(seed)
                images, labels = self._mix(images, labels)
        return images, labels

    def _changed(self, picture: UInt8[Tensor, "1 3 H W"], seed: int) -> Float[Tensor, "1 3 H W"]:
        _seed_torch(seed)
        for transform in self._of_each:
            picture = transform(picture)
        image = self.plain(picture)
        return image if self._erase is None else self._erase(image)


def _of_colours(value: Mean | Deviation) -> float | Tensor:
    """Return one number as it is, three as a tensor [3, 1, 1]."""
    return value if isinstance(value, float) else torch.tensor(value)[:, None, None]


def _seed_torch(seed: int) -> None:
    # `torch.manual_seed` also notes the call stack for devices that are not there yet, which takes a millisecond.
    torch.default_generator.manual_seed(seed)


def _of_each(config: AugmentationConfig, image_size: int) -> list[Transform]:
    """Return what is done to each picture, uint8 [1, 3, H, W], in this order."""
    chosen: list[Transform] = []
    if config.crop is not None:
        chosen.append(v2.RandomResizedCrop(image_size, scale=(config.crop, 1.0), antialias=True))
    if config.flip:
        chosen.append(v2.RandomHorizontalFlip(config.flip))
    if config.rand_augment is not None:
        chosen.append(v2.RandAugment(config.rand_augment.num_ops, config.rand_augment.magnitude))
    if config.trivial_augment:
        chosen.append(v2.TrivialAugmentWide())
    if config.augmix is not None:
        chosen.append(v2.AugMix(config.augmix.severity, config.augmix.mixture_width))
    if config.color_jitter is not None:
        jitter = config.color_jitter
        chosen.append(v2.ColorJitter(jitter.brightness, jitter.contrast, jitter.saturation, jitter.hue))
    return chosen


def _mixing(config: AugmentationConfig, num_classes: int) -> Transform | None:
    """Return what is done to whole batches."""
    chosen: list[Transform] = []
    if config.mixup:
        chosen.append(v2.MixUp(alpha=config.mixup, num_classes=num_classes))
    if config.cutmix:
        chosen.append(v2.CutMix(alpha=config.cutmix, num_classes=num_classes))
    if len(chosen) == 2:
        return v2.RandomChoice(chosen)
    return chosen[0] if chosen else None
