"""What the rest of the package asks of a text-to-image model, whatever its family."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from augment.diffusion import Denoiser, Schedule


class LatentDiffusion(ABC):
    """A latent diffusion model with its text encoder, autoencoder and noise schedule.

    Attributes:
        model_id, revision: what is recorded with every edit.
        image_size: side in pixels of the images it was trained on.
        factor: pixels per latent position; image sides must be multiples of it.
        device, dtype: of the network; latents are float32 throughout.
    """

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
    def embed(self, prompts: Sequence[str]) -> Tensor:
        """Prompt embeddings [B, L, D]; each distinct prompt is encoded once."""

    @abstractmethod
    def denoiser(self, prompt_embeds: Tensor, guidance_scale: float = 1.0) -> Denoiser:
        """eps(z, t) under the prompts, with classifier-free guidance against the empty prompt if the scale is not 1."""

    @abstractmethod
    def schedule(self, num_steps: int, sampler: str = "ddim") -> Schedule:
        """The table of a sampler on this model's noise schedule.

        Raises:
            ValueError: for a sampler this model cannot run, naming those it can.
        """
