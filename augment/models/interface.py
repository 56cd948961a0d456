"""What the rest of the package asks of a text-to-image model, whatever its family."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from augment.diffusion import Denoiser, Schedule
from augment.models.attention import AttentionWatch, Observer
from augment.models.replacement import AttentionReplacement

ImageSize = int | tuple[int, int]  # in pixels: the side of a square image, or (height, width)


@dataclass(frozen=True)
class PromptEmbeds:
    """Hold encoded prompts: what a family's denoiser is conditioned on.

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
        """Return the tokens, and the pooled vectors if the family has them."""
        return (self.tokens,) if self.pooled is None else (self.tokens, self.pooled)

    def select(self, index: slice | Tensor | list[int]) -> PromptEmbeds:
        """Return the embeddings of some of the prompts, in the order of the index."""
        return PromptEmbeds(self.tokens[index], None if self.pooled is None else self.pooled[index])

    def split(self, size: int) -> list[PromptEmbeds]:
        """Return consecutive chunks of `size` prompts, the last maybe smaller."""
        return [self.select(slice(i, i + size)) for i in range(0, len(self), size)]


def concatenated(parts: Sequence[PromptEmbeds]) -> PromptEmbeds:
    """Return the embeddings of several lists of prompts as those of one list."""
    tensors = [torch.cat(column) for column in zip(*(part.tensors for part in parts), strict=True)]
    return PromptEmbeds(*tensors)


class LatentDiffusion(ABC):
    """Run a latent diffusion model: its text encoder, autoencoder, denoiser and noise schedule.

    Attributes:
        samplers: names of the samplers it can run.
        has_cross_attention: whether layers that see the text see it alone.
        is_told_guidance: whether the guidance scale goes into the network, instead of weighing two predictions.
        default_sampler: the one of them that its family is meant to be sampled with.
        model_id, revision: what is recorded with every edit.
        image_size: side in pixels of the images it was trained on.
        factor: image sides must be multiples of it: pixels per latent position, or per patch of them where the network
            works on patches.
        largest_side: of an image, in pixels, for networks that know a limited number of positions; None for the others.
        device, dtype: of the network; latents are float32 throughout.
        rows: rows of every call of a network, see `augment.models.rows`; None: as many as there are.
        edits_at_once: edits that are sampled and decoded together, which bounds what is on the device and changes no
            bit where `rows` is set; None: all of a batch.
    """

    samplers: ClassVar[tuple[str, ...]]
    has_cross_attention: ClassVar[bool] = False
    is_told_guidance: bool = False
    default_sampler: str
    model_id: str
    revision: str
    image_size: int
    factor: int
    largest_side: int | None
    device: torch.device
    dtype: torch.dtype
    rows: int | None = None
    edits_at_once: int | None = None

    @abstractmethod
    def encode(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B C h w"]:
        """Return the latents of images in -1..1, of about unit scale, float32.

        They are the mode of the autoencoder's posterior, so nothing is random.
        """

    @abstractmethod
    def decode(self, latents: Float[Tensor, "B C h w"]) -> Float[Tensor, "B 3 H W"]:
        """Return the images of latents, in -1..1, float32."""

    @abstractmethod
    def latent_shape(self, image_size: ImageSize | None = None) -> tuple[int, int, int]:
        """Return the shape (C, h, w) of one image's latents.

        Args:
            image_size: of the image, in pixels; None for the training size, `image_size`.

        Raises:
            ValueError: if a side is not a multiple of `factor`, or larger than `largest_side`.
        """

    @abstractmethod
    def embed(self, prompts: Sequence[str]) -> PromptEmbeds:
        """Return the embeddings of prompts; each distinct prompt is encoded once."""

    @abstractmethod
    def denoiser(
        self,
        prompt_embeds: PromptEmbeds,
        guidance_scale: float | Float[Tensor, "B 1 h w"] = 1.0,
        watch: Observer | None = None,
    ) -> Denoiser:
        """Return eps(z, t) under the prompts, guided away from the empty prompt if the scale is not 1.

        Families of flow models answer the velocity instead, which their schedules expect.

        Args:
            prompt_embeds: one prompt per sample.
            guidance_scale: w of classifier-free guidance (`augment.diffusion.guided`), or what a distilled model is
                told, which takes one for the whole picture.
            watch: of the same prompts, inside its `watching`, or rows of a replacement, inside its `replacing`: it sees
                the denoiser's calls.
        """

    @abstractmethod
    def watching(self, prompts: Sequence[str], words: Sequence[str]) -> AbstractContextManager[AttentionWatch]:
        """Return a watch of how much the network attends to a word of each prompt; it works within the block.

        Afterwards the network is as it was. Blocks do not nest.

        Args:
            prompts: one per sample of the denoiser that is watched.
            words: one per prompt, which may be of several words.
        """

    @abstractmethod
    def replacing(
        self,
        sources: Sequence[str],
        edits: Sequence[str],
        owners: Int[Tensor, " N"],
        *,
        words: bool,
        masks: Float[Tensor, "N 1 h w"] | None = None,
    ) -> AbstractContextManager[AttentionReplacement]:
        """Return what gives edits the attention of their sources; it works within the block.

        Afterwards the network is as it was. Blocks do not nest.

        Args:
            sources: one prompt per source.
            edits: one prompt per edit.
            owners: the source of each edit.
            words: whether cross-attention is to be replaced, too.
            masks: for each edit the share of its positions that attend to one another as in the source; None: all do.

        Raises:
            ValueError: if it is, and the network has none: transformers attend to text and image at once.
        """

    @abstractmethod
    def in_float32(self) -> AbstractContextManager[None]:
        """Run the networks in float32 within the block; afterwards they are as they were, bit for bit."""

    @abstractmethod
    def schedule(self, num_steps: int, sampler: str, *, image_size: ImageSize | None = None) -> Schedule:
        """Return the table of one of `samplers` on this model's noise schedule.

        Args:
            num_steps: number of steps.
            sampler: its name.
            image_size: of the images that are made, in pixels; None for the training size. Flow models with dynamic
                shifting take more steps at high noise the larger the image; the other families do not depend on it.

        Raises:
            ModelError: if the model's scheduler asks of this sampler what is not supported.
            ValueError: for a sampler this model cannot run, naming those it can; for a number of steps it cannot take;
                for an image size that is not a multiple of `factor`, where it is read.
        """
