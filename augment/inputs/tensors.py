"""Pixels and tensors: the one place that turns 8-bit pictures into what models take, and back."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor


def to_images(pixels: np.ndarray | Tensor) -> Float[Tensor, "N 3 H W"]:
    """Return images in -1..1, float32 [N, 3, H, W], of pixels uint8 [N, H, W, 3]."""
    tensor = torch.from_numpy(pixels) if isinstance(pixels, np.ndarray) else pixels
    return tensor.permute(0, 3, 1, 2).float() / 127.5 - 1.0


def joined_images(lots: Sequence[Tensor]) -> Float[Tensor, "N 3 H W"]:
    """Return images in -1..1, float32 [N, 3, H, W], of lots of pixels, uint8 [n, 3, H, W], one after the other.

    The values are those of `to_images`. A picture at a time is converted where it will be, while it is in the
    processor's cache.
    """
    images = torch.empty(sum(map(len, lots)), *lots[0].shape[1:])
    for image, pixels in zip(images, itertools.chain(*lots), strict=True):
        image.copy_(pixels).div_(127.5).sub_(1.0)
    return images


def to_pixels(images: Float[Tensor, "N 3 H W"]) -> np.ndarray:
    """Return pixels, uint8 [N, H, W, 3], of images; what lies outside -1..1 is clipped, and NaN becomes grey."""
    values = images.detach().float().nan_to_num(0.0).clamp(-1.0, 1.0)
    pixels: np.ndarray = ((values + 1.0) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    return pixels
