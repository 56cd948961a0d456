"""What the families read from a diffusers pipeline have in common: the autoencoder, the prompts, the guidance."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from augment.diffusion import Denoiser, guided
from augment.diffusion.denoiser import Predict
from augment.models.attention import COARSE, AttentionWatch, Observer, QueriesAndKeys, WatchedProcessor
from augment.models.interface import ImageSize, LatentDiffusion, PromptEmbeds, concatenated
from augment.models.replacement import AttentionReplacement, ReplacedProcessor
from augment.models.rows import in_rows, padded_chunks
from augment.models.same_words import SameWords, same_words
from augment.models.word_tokens import word_tokens


def frozen(network: Any) -> Any:
    """Return the network for inference only: no dropout, no gradients of the weights."""
    return network.eval().requires_grad_(False)


class DiffusersModel(LatentDiffusion):
    """Wrap a loaded pipeline; only its networks are used, never its sampling loop.

    Attributes:
        queries_and_keys: of the network's attention layers that see the text.
        self_attention: names of its layers in which positions of the image attend to one another.
    """

    queries_and_keys: ClassVar[QueriesAndKeys]
    self_attention: ClassVar[re.Pattern[str]]

    def __init__(self, pipeline: Any, network: Any, *, patch_size: int = 1, model_id: str, revision: str) -> None:
        """
        Args:
            pipeline: with an `AutoencoderKL` as its `vae`.
            network: the pipeline's denoiser.
            patch_size: side of the squares of latent positions that the denoiser takes as one.
        """
        self.model_id = model_id
        self.revision = revision
        self.vae = frozen(pipeline.vae)
        self.network = frozen(network)
        self._networks = [part for part in pipeline.components.values() if isinstance(part, torch.nn.Module)]
        self.device = self.network.device
        self.dtype = self.network.dtype
        self.latent_factor = 2 ** (len(self.vae.config.block_out_channels) - 1)  # pixels per latent position
        self.factor = self.latent_factor * patch_size
        self.largest_side: int | None = None
        self._scale = float(self.vae.config.scaling_factor)
        self._shift = float(self.vae.config.shift_factor or 0.0)  # None for the families without

    @contextmanager
    def in_float32(self) -> Iterator[None]:
        tensors = [
            tensor
            for network in self._networks
            for tensor in (*network.parameters(), *network.buffers())
            if tensor.is_floating_point() and tensor.dtype != torch.float32
        ]
        dtype, dtypes = self.dtype, [tensor.dtype for tensor in tensors]
        try:
            self.dtype = torch.float32
            for tensor in tensors:
                tensor.data = tensor.data.float()
            yield
        finally:
            # Every value came from half precision, so going back loses nothing.
            self.dtype = dtype
            for tensor, before in zip(tensors, dtypes, strict=True):
                tensor.data = tensor.data.to(before)

    @torch.no_grad()
    def encode(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B C h w"]:
        def mode(pixels: Tensor) -> Tensor:
            return self.vae.encode(pixels).latent_dist.mode().float()

        return (in_rows(mode, self.rows, images.to(self.device, self.vae.dtype)) - self._shift) * self._scale

    @torch.no_grad()
    def decode(self, latents: Float[Tensor, "B C h w"]) -> Float[Tensor, "B 3 H W"]:
        def pixels(latents: Tensor) -> Tensor:
            return self.vae.decode(latents).sample.float().clamp(-1.0, 1.0)

        return in_rows(pixels, self.rows, (latents / self._scale + self._shift).to(self.device, self.vae.dtype))

    def latent_shape(self, image_size: ImageSize | None = None) -> tuple[int, int, int]:
        height, width = self._sides(image_size)
        return self.vae.config.latent_channels, height // self.latent_factor, width // self.latent_factor

    def image_tokens(self, image_size: ImageSize | None = None) -> int:
        """Return how many patches of latent positions the denoiser cuts an image of that size into.

        Raises:
            ValueError: if a side is not a multiple of `factor`, or larger than `largest_side`.
        """
        height, width = self._sides(image_size)
        return (height // self.factor) * (width // self.factor)

    def _sides(self, image_size: ImageSize | None) -> tuple[int, int]:
        """Return (height, width) in pixels, checked."""
        size = self.image_size if image_size is None else image_size
        height, width = (size, size) if isinstance(size, int) else size
        if min(height, width) < 1 or height % self.factor or width % self.factor:
            raise ValueError(
                f"model {self.model_id!r} takes images whose sides are multiples of {self.factor} pixels, "
                f"got {height} x {width}"
            )
        if self.largest_side and max(height, width) > self.largest_side:
            raise ValueError(
                f"model {self.model_id!r} takes images of at most {self.largest_side} pixels a side, "
                f"got {height} x {width}"
            )
        return height, width

    @torch.no_grad()
    def embed(self, prompts: Sequence[str]) -> PromptEmbeds:
        distinct = list(dict.fromkeys(prompts))
        places = {prompt: place for place, prompt in enumerate(distinct)}
        parts = [self._encode_prompts(chunk) for chunk in padded_chunks(distinct, self.rows)]
        return concatenated(parts).select([places[p] for p in prompts])

    @abstractmethod
    def _encode_prompts(self, prompts: Sequence[str]) -> PromptEmbeds:
        """Return the embeddings of prompts that are all different."""

    @abstractmethod
    def _unconditional(self) -> PromptEmbeds:
        """Return what guidance is against, one row: the empty prompt as the family was trained with it."""

    @contextmanager
    def watching(self, prompts: Sequence[str], words: Sequence[str]) -> Iterator[AttentionWatch]:
        parts = [
            word_tokens(tokenizer, prompts, words, length) if tokenizer is not None else torch.zeros(len(words), length)
            for tokenizer, length in self._token_parts()
        ]
        tokens = torch.cat(parts, dim=1)
        watch = AttentionWatch((tokens / tokens.sum(dim=1, keepdim=True).clamp_min(1.0)).to(self.device))
        with self._processors(lambda _, own: WatchedProcessor(watch, own, self.queries_and_keys)):
            yield watch

    @contextmanager
    def _processors(self, wrapped: Callable[[str, Any], Any]) -> Iterator[None]:
        """Put `wrapped(name, the layer's own processor)` in the place of every attention processor."""
        own = dict(self.network.attn_processors)
        try:
            self.network.set_attn_processor({name: wrapped(name, processor) for name, processor in own.items()})
            yield
        finally:
            self.network.set_attn_processor(own)

    @contextmanager
    def replacing(
        self,
        sources: Sequence[str],
        edits: Sequence[str],
        owners: Int[Tensor, " N"],
        *,
        words: bool,
        masks: Float[Tensor, "N 1 h w"] | None = None,
    ) -> Iterator[AttentionReplacement]:
        shared = self._same_words([sources[i] for i in owners.tolist()], edits) if words else None
        # The layers of a transformer have all the same positions, so there is none to prefer.
        coarse = COARSE if self.has_cross_attention else None
        replacement = AttentionReplacement(owners, len(sources), shared, masks, coarse)

        def wrapped(name: str, own: Any) -> ReplacedProcessor:
            layer = name.removesuffix(".processor")
            is_self = self.self_attention.search(layer) is not None
            return ReplacedProcessor(
                replacement, layer, own, is_self_attention=is_self, queries_and_keys=self.queries_and_keys
            )

        with ExitStack() as undo:
            for name, layer in self.network.named_modules():
                if self.self_attention.search(name):
                    for projection in ("to_q", "to_k"):
                        hook = replacement.hook(f"{name}.{projection}")
                        undo.callback(getattr(layer, projection).register_forward_hook(hook).remove)
            undo.enter_context(self._processors(wrapped))
            yield replacement

    def _same_words(self, sources: Sequence[str], edits: Sequence[str]) -> SameWords:
        if not self.has_cross_attention:
            raise ValueError(f"{self.model_id!r} attends to text and image at once: no cross-attention to replace")
        ((tokenizer, length),) = self._token_parts()
        ids = [tokenizer(list(p), max_length=length, truncation=True).input_ids for p in (sources, edits)]
        same = same_words(ids[0], ids[1], length)
        return SameWords(same.places.to(self.device), same.shared.to(self.device))

    @abstractmethod
    def _token_parts(self) -> list[tuple[Any, int]]:
        """Return the tokenizers whose tokens make up an embedded prompt, in order, each with its number of tokens.

        A tokenizer is None for tokens that stand for no text.
        """

    def _guided(
        self, predict: Predict, prompt_embeds: PromptEmbeds, guidance_scale: float | Tensor, watch: Observer | None
    ) -> Denoiser:
        """Return `predict` with classifier-free guidance; the empty prompt is encoded only if the scale asks for it."""
        conditions = prompt_embeds.tensors
        if not isinstance(guidance_scale, Tensor) and guidance_scale == 1.0:
            return self._unguided(predict, conditions, watch)
        empty = tuple(e.expand_as(c) for e, c in zip(self._unconditional().tensors, conditions, strict=True))
        if watch is not None:
            predict = watch.around(predict)
            conditions, empty = (*watch.conditions, *conditions), (*watch.no_conditions, *empty)
        return guided(partial(in_rows, predict, self.rows), conditions, empty, guidance_scale)

    def _told(self, guidance_scale: float | Tensor, batch: int) -> Float[Tensor, " B"]:
        """Return the scale that a distilled network is told, for each sample."""
        if isinstance(guidance_scale, Tensor):
            raise ValueError(f"{self.model_id!r} is told one guidance scale for the whole picture, got one by position")
        return torch.full((batch,), guidance_scale, device=self.device)

    def _unguided(self, predict: Predict, conditions: tuple[Tensor, ...], watch: Observer | None) -> Denoiser:
        if watch is not None:
            predict, conditions = watch.around(predict), (*watch.conditions, *conditions)
        return Denoiser(partial(in_rows, predict, self.rows), conditions)
