"""Interpolate between two noises.

A random point of the latent space is standard normal noise, and its norm is almost constant: chi distributed, with mean
about sqrt(D) and a standard deviation of 0.7 whatever the number of dimensions D (32 +- 0.7 for the embedded model).
The chord between two such points passes far inside that shell (0.71 sqrt(D) halfway between unrelated ones), where the
network has never been trained and answers with washed-out pictures: Samuel et al. 2023, "Norm-guided latent space
exploration for text-to-image generation". `slerp` stays on the shell.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

ROUNDING = 1e-12  # sines below it are float64's rounding, not an angle


def slerp(a: Float[Tensor, "B ..."], b: Float[Tensor, "B ..."], weight: float) -> Float[Tensor, "B ..."]:
    """Return points from a (weight 0) to b (weight 1), per sample.

    The direction follows the great circle (Shoemake 1985), the norm changes linearly.

    Any norm between two likely norms is likely, because the chi distribution has one peak; pulling the norm towards
    that peak as well would no longer lead through a and b.

    The direction of a zero vector is that of the other; of all great circles between opposite directions the one is
    taken that leaves towards the coordinate in which a is smallest.
    """
    first, second = a.flatten(1).double(), b.flatten(1).double()  # so that both ends are a and b to the last bit
    norm_a, norm_b = first.norm(dim=1, keepdim=True), second.norm(dim=1, keepdim=True)
    zero_a, zero_b = norm_a == 0, norm_b == 0
    u = torch.where(zero_a, second, first) / torch.where(zero_a, norm_b, norm_a).clamp_min(1e-300)
    v = torch.where(zero_b, first, second) / torch.where(zero_b, norm_a, norm_b).clamp_min(1e-300)
    cos = (u * v).sum(dim=1, keepdim=True)
    across = v - cos * u
    sin = across.norm(dim=1, keepdim=True)
    opposite = (sin < ROUNDING) & (cos < 0)
    smallest = torch.zeros_like(u).scatter_(1, u.abs().argmin(dim=1, keepdim=True), 1.0)
    across = torch.where(opposite, smallest - (smallest * u).sum(dim=1, keepdim=True) * u, across)
    across = across / across.norm(dim=1, keepdim=True).clamp_min(1e-300)
    angle = weight * torch.atan2(sin, cos)
    direction = angle.cos() * u + angle.sin() * across
    found = (norm_a + weight * (norm_b - norm_a)) * direction
    # In a's memory layout: convolutions round otherwise in another.
    return torch.empty_like(a).copy_(found.view(a.shape))


def lerp(a: Float[Tensor, "B ..."], b: Float[Tensor, "B ..."], weight: float) -> Float[Tensor, "B ..."]:
    """Return points along the chord, norms as they fall: what `slerp` is compared with."""
    return torch.lerp(a, b, weight)
