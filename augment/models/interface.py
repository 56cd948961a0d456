"""What the rest of the package asks of a text-to-image model, whatever its family."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from augment.diffusion import Denoiser, Schedule


@dataclass(frozen=True)
class PromptEmbeds:
    """Encoded prompts: what a family's denoiser is conditioned on.

    Attributes:
        tokens: one vector per token, [B, L, D].
        pooled: one vector per prompt, [B, P], for the families that use it.
    """

    tokens: Float[Tensor, "B L D"]
    pooled: Float[Tensor, "B P"] | None = None

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        return (self.tokens,) if self.pooled is None else (self.tokens, self.pooled)

    def select(self, index: slice | Tensor | list[int]) -> PromptEmbeds:
        return PromptEmbeds(self.tokens[index], None if self.pooled is None else self.pooled[index])

    def split(self, size: int) -> list[PromptEmbeds]:
        """Consecutive chunks of `size` prompts, the last maybe smaller."""
        return [self.select(slice(i, i + size)) for i in range(0, len(self), size)]


class LatentDiffusion(ABC):
    """A latent diffusion model with its text encoder, autoencoder and noise schedule.

    Attributes:
        samplers: names of the samplers it can run.
        default_sampler: the one of them that its family is meant to be sampled with.
        model_id, revision: what is recorded with every edit.
        image_size: side in pixels of the images it was trained on.
        factor: image sides must be multiples of it: pixels per latent position, or per patch of them where the network
            works on patches.
        device, dtype: of the network; latents are float32 throughout.
    """

    samplers: ClassVar[tuple[str, ...]]
    default_sampler: str
    model_id: str
    revision: str
    image_size: int
    factor: int
    device: torch.device
    dtype: torch.dtype

    @abstractmethod
    def encode(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B C h w"]:
        """Images in -1..1 -> latents of about unit scale, float32; the mode of the posterior, so no randomness."""

    @abstractmethod
    def decode(self, latents: Float[Tensor, "B C h w"]) -> Float[Tensor, "B 3 H W"]:
        """Latents -> images in -1..1, float32."""

    @abstractmethod
    def embed(self, prompts: Sequence[str]) -> PromptEmbeds:
        """Prompt embeddings; each distinct prompt is encoded once."""

    @abstractmethod
    def denoiser(self, prompt_embeds: PromptEmbeds, guidance_scale: float = 1.0) -> Denoiser:
        """eps(z, t) under the prompts, with classifier-free guidance against the empty prompt if the scale is not 1.

        Families of flow models answer the velocity instead, which their schedules expect.
        """

    @abstractmethod
    def in_float32(self) -> AbstractContextManager[None]:
        """Run the networks in float32 within the block; afterwards they are as they were, bit for bit."""

    @abstractmethod
    def schedule(self, num_steps: int, sampler: str) -> Schedule:
        """The table of one of `samplers` on this model's noise schedule.

        Raises:
            ValueError: for a sampler this model cannot run, naming those it can.
        """
