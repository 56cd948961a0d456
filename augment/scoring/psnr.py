"""Peak signal-to-noise ratio."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def psnr(images: Float[Tensor, "B C H W"], reference: Float[Tensor, "B C H W"]) -> Float[Tensor, " B"]:
    """Return 10 log10(peak^2 / MSE) in dB per image, for images in -1..1 (peak 2); 100 at most, so never infinity."""
    mse = (images.float() - reference.float()).square().mean(dim=(1, 2, 3))
    return (10.0 * torch.log10(4.0 / mse.clamp_min(4e-10))).clamp_max(100.0)
