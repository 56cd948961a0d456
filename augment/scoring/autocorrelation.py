"""Spatial autocorrelation: whether latents that should be noise still hold the layout of an image."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def autocorrelation(latents: Float[Tensor, "B C H W"]) -> Float[Tensor, " B"]:
    """Return the correlation of neighbours (lag 1), the mean of the horizontal and the vertical, in -1..1.

    Per sample and channel the mean of x_ij x_i,j+1 over all pairs, and of x_ij x_i+1,j, each over the mean of x_ij^2;
    then averaged over the channels. 0 for white noise in expectation, 1 for a constant, -1 for a checkerboard.

    The mean is taken to be 0, as it is of noise. Subtracting the sample's own would bias white noise to -1/(H W - 1),
    as much as is to be seen here, and hide an offset.

    Args:
        latents: H and W at least 2; a channel of zeros counts as 0.

    Raises:
        ValueError: if a side has no neighbours.
    """
    if min(latents.shape[2:]) < 2:
        raise ValueError(f"latents of {latents.shape[2]} x {latents.shape[3]} have sides without neighbours")
    x = latents.double()
    power = x.square().mean(dim=(2, 3))  # (B, C)
    horizontal = (x[..., :-1] * x[..., 1:]).mean(dim=(2, 3))
    vertical = (x[..., :-1, :] * x[..., 1:, :]).mean(dim=(2, 3))
    tiny = torch.finfo(power.dtype).tiny
    return ((horizontal + vertical) / 2 / power.clamp_min(tiny)).mean(dim=1).float()
