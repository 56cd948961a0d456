"""Stable Diffusion 3 and 3.5: a transformer on a rectified flow, conditioned on two CLIP text encoders and on T5."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import StableDiffusion3Pipeline
from jaxtyping import Float
from torch import Tensor

from augment.diffusion import Denoiser, Schedule
from augment.models import text_readers
from augment.models.attention import Observer
from augment.models.diffusers_model import DiffusersModel, frozen
from augment.models.flow_schedule import SAMPLERS, FlowSchedule
from augment.models.interface import ImageSize, PromptEmbeds
from augment.models.text_encoders import last_hidden, penultimate_hidden, prompt_length

T5_TOKENS = text_readers.T5_TOKENS["StableDiffusion3Pipeline"]


def joint_attention(attn: Any, image: Tensor, text: Tensor, *rotary: Any) -> tuple[Tensor, Tensor, int]:
    """Return the `QueriesAndKeys` of Stable Diffusion 3: positions attend to one another, then to the text."""
    projected = (attn.to_q(image), attn.to_k(image), attn.add_k_proj(text))
    query, key, of_text = (x.unflatten(-1, (attn.heads, -1)).transpose(1, 2) for x in projected)
    query = query if attn.norm_q is None else attn.norm_q(query)
    key = key if attn.norm_k is None else attn.norm_k(key)
    of_text = of_text if attn.norm_added_k is None else attn.norm_added_k(of_text)
    return query, torch.cat([key, of_text], dim=2), key.shape[2]


class StableDiffusion3(DiffusersModel):
    """Run Stable Diffusion 3 or 3.5 (Esser et al. 2024).

    The T5 encoder may be missing; zeros take its place, as in training.
    """

    samplers = SAMPLERS
    queries_and_keys = staticmethod(joint_attention)
    self_attention = re.compile(r"^transformer_blocks\.\d+\.attn2?$")
    default_sampler = "flow_euler"

    def __init__(self, pipeline: StableDiffusion3Pipeline, *, model_id: str, revision: str) -> None:
        transformer = pipeline.transformer
        patch_size = transformer.config.patch_size
        super().__init__(pipeline, transformer, patch_size=patch_size, model_id=model_id, revision=revision)
        self.image_size = transformer.config.sample_size * self.latent_factor
        self.largest_side = transformer.config.pos_embed_max_size * self.factor  # the middle of a fixed grid is used
        self.flow_schedule = FlowSchedule(pipeline.scheduler, model_id)
        self.tokenizers = (pipeline.tokenizer, pipeline.tokenizer_2)
        self.text_encoders = (frozen(pipeline.text_encoder), frozen(pipeline.text_encoder_2))
        self._prompt_length = min(map(prompt_length, self.tokenizers, self.text_encoders))
        self.t5_tokenizer = pipeline.tokenizer_3
        self.t5 = None if pipeline.text_encoder_3 is None else frozen(pipeline.text_encoder_3)

    def denoiser(
        self, prompt_embeds: PromptEmbeds, guidance_scale: float | Tensor = 1.0, watch: Observer | None = None
    ) -> Denoiser:
        return self._guided(self._predict_velocity, prompt_embeds, guidance_scale, watch)

    def schedule(self, num_steps: int, sampler: str, *, image_size: ImageSize | None = None) -> Schedule:
        return self.flow_schedule.table(num_steps, sampler, image_tokens=self.image_tokens(image_size))

    def _encode_prompts(self, prompts: Sequence[str]) -> PromptEmbeds:
        """Return CLIP's features side by side, padded to T5's width, then T5's tokens (Esser et al., section 4)."""
        hidden, pooled = zip(
            *(
                penultimate_hidden(tokenizer, encoder, prompts, self._prompt_length)
                for tokenizer, encoder in zip(self.tokenizers, self.text_encoders, strict=True)
            ),
            strict=True,
        )
        clip = torch.cat(hidden, dim=2)
        t5 = self._t5_embeds(prompts).to(clip.dtype)
        clip = F.pad(clip, (0, t5.shape[2] - clip.shape[2]))
        return PromptEmbeds(torch.cat([clip, t5], dim=1), torch.cat(pooled, dim=1))

    def _t5_embeds(self, prompts: Sequence[str]) -> Float[Tensor, "B L D"]:
        if self.t5 is None:
            return torch.zeros(len(prompts), T5_TOKENS, self.network.config.joint_attention_dim, device=self.device)
        return last_hidden(self.t5_tokenizer, self.t5, prompts, T5_TOKENS)

    def _token_parts(self) -> list[tuple[Any, int]]:
        return [(self.tokenizers[0], self._prompt_length), (self.t5_tokenizer if self.t5 else None, T5_TOKENS)]

    def _unconditional(self) -> PromptEmbeds:
        return self.embed([""])

    def _predict_velocity(self, z: Tensor, t: Tensor, tokens: Tensor, pooled: Tensor) -> Tensor:
        return self.network(
            hidden_states=z.to(self.dtype), timestep=t, encoder_hidden_states=tokens, pooled_projections=pooled
        ).sample.float()
