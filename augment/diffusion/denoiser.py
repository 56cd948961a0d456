"""The network as inversion and sampling see it: latents and timesteps in, predicted noise out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

Predict = Callable[..., Tensor]


@dataclass(frozen=True)
class Denoiser:
    """Predict eps(z, t) with its per-sample conditions bound.

    Attributes:
        predict: (z [B, C, H, W], t [B], *conditions) -> eps [B, C, H, W]; must treat the samples independently.
        conditions: tensors whose first dimension is the batch, for example prompt embeddings [B, L, D].
        evaluations: passes through the network that one call costs per sample; 2 with guidance.
    """

    predict: Predict
    conditions: tuple[Tensor, ...] = ()
    evaluations: int = 1

    def __call__(self, z: Float[Tensor, "B C H W"], t: Float[Tensor, " B"]) -> Float[Tensor, "B C H W"]:
        """Return eps(z, t) for latents z and their timesteps t."""
        return self.predict(z, t, *self.conditions)

    def select(self, index: Tensor) -> Denoiser:
        """Return the denoiser of some of the samples; `index` is int64 [n]."""
        return Denoiser(self.predict, tuple(c[index] for c in self.conditions), self.evaluations)


def guided(
    predict: Predict,
    cond: tuple[Tensor, ...],
    uncond: tuple[Tensor, ...],
    guidance_scale: float | Float[Tensor, "B 1 H W"],
) -> Denoiser:
    """Return a denoiser with classifier-free guidance, eps_u + w (eps_c - eps_u), in one batched call.

    This w is that of Saharia et al. 2022 (Imagen, eq. 2) and of diffusers: one more than in Ho & Salimans 2022, eq. 6.

    Args:
        predict: (z, t, *conditions) -> eps.
        cond, uncond: conditions, each [B, ...], with and without the prompt.
        guidance_scale: w; at 1 the unconditional half is not computed. A tensor has one for each position.
    """
    by_position = (guidance_scale,) if isinstance(guidance_scale, Tensor) else ()
    if not by_position and guidance_scale == 1.0:
        return Denoiser(predict, cond)

    def both(z: Tensor, t: Tensor, *conditions: Tensor) -> Tensor:
        pairs = zip(conditions[len(cond) : 2 * len(cond)], conditions[: len(cond)], strict=True)
        scale = conditions[-1] if by_position else guidance_scale
        pair = predict(torch.cat([z, z]), torch.cat([t, t]), *(torch.cat(p) for p in pairs))
        eps_uncond, eps_cond = pair.chunk(2)
        return eps_uncond + scale * (eps_cond - eps_uncond)

    return Denoiser(both, (*cond, *uncond, *by_position), evaluations=2)
