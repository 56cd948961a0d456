"""Masks that were given with the images, in pixels, on the grid of the latents."""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def on_latent_grid(masks: Float[Tensor, "B 1 H W"], height: int, width: int) -> Float[Tensor, "B 1 h w"]:
    """Return for each latent position the mean of the mask over the pixels that it stands for, float32.

    Args:
        masks: share of the source to keep, in 0..1; sides multiples of the grid's.
        height, width: of the grid.
    """
    return F.interpolate(masks.float(), size=(height, width), mode="area")
