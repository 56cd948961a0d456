"""Stable Diffusion XL and SDXL-Turbo: two CLIP text encoders, and a UNet that is told the image's size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from diffusers import StableDiffusionXLPipeline
from jaxtyping import Float
from torch import Tensor

from augment.models.diffusers_model import frozen
from augment.models.interface import PromptEmbeds
from augment.models.stable_diffusion import UNetModel
from augment.models.text_encoders import penultimate_hidden, prompt_length


class StableDiffusionXL(UNetModel):
    """Run SDXL (Podell et al. 2023) or one of its Turbo models (Sauer et al. 2023)."""

    def __init__(self, pipeline: StableDiffusionXLPipeline, *, model_id: str, revision: str) -> None:
        super().__init__(pipeline, model_id=model_id, revision=revision)
        self.tokenizers = (pipeline.tokenizer, pipeline.tokenizer_2)
        self.text_encoders = (frozen(pipeline.text_encoder), frozen(pipeline.text_encoder_2))
        self._prompt_lengths = tuple(map(prompt_length, self.tokenizers, self.text_encoders))
        self._zeros_for_empty_prompt = bool(pipeline.config.force_zeros_for_empty_prompt)
        if self.vae.config.force_upcast and self.vae.dtype == torch.float16:
            self.vae.to(torch.float32)  # its activations exceed what float16 can hold

    def _encode_prompts(self, prompts: Sequence[str]) -> PromptEmbeds:
        hidden, pooled = zip(
            *(
                penultimate_hidden(tokenizer, encoder, prompts, length)
                for tokenizer, encoder, length in zip(
                    self.tokenizers, self.text_encoders, self._prompt_lengths, strict=True
                )
            ),
            strict=True,
        )
        return PromptEmbeds(torch.cat(hidden, dim=2), pooled[-1])

    def _token_parts(self) -> list[tuple[Any, int]]:
        return [(self.tokenizers[0], self._prompt_lengths[0])]  # both read the same tokens, side by side

    def _unconditional(self) -> PromptEmbeds:
        empty = self.embed([""])
        if not self._zeros_for_empty_prompt or empty.pooled is None:
            return empty
        return PromptEmbeds(torch.zeros_like(empty.tokens), torch.zeros_like(empty.pooled))

    def _added_conditions(self, z: Float[Tensor, "B C h w"], *pooled: Tensor) -> dict[str, Tensor] | None:
        """Return the pooled prompt and the micro-conditioning (section 2.2) of an image that was not cropped."""
        height, width = (side * self.latent_factor for side in z.shape[2:])
        time_ids = torch.tensor([[height, width, 0, 0, height, width]], dtype=self.dtype, device=z.device)
        return {"text_embeds": pooled[0], "time_ids": time_ids.expand(len(z), -1)}
