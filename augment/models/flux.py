"""FLUX.1: a transformer on a rectified flow over 2 x 2 patches of latents, conditioned on T5 and on a pooled CLIP."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from diffusers import FluxPipeline
from diffusers.models.embeddings import apply_rotary_emb
from jaxtyping import Float
from torch import Tensor

from augment.diffusion import Denoiser, Schedule
from augment.models import text_readers
from augment.models.attention import Observer
from augment.models.diffusers_model import DiffusersModel, frozen
from augment.models.flow_schedule import SAMPLERS, FlowSchedule
from augment.models.interface import ImageSize, PromptEmbeds
from augment.models.text_encoders import last_hidden, prompt_length, token_ids

PATCH = 2  # side of the squares of latent positions that make one token
T5_TOKENS = text_readers.T5_TOKENS["FluxPipeline"]


def rotary_joint_attention(attn: Any, image: Tensor, text: Tensor, *rotary: Any) -> tuple[Tensor, Tensor, int]:
    """Return the `QueriesAndKeys` of FLUX: rotary, positions attend to the text, then to one another.

    Blocks of one stream, in which text and image are not told apart, are not read.
    """
    projected = (attn.to_q(image), attn.to_k(image), attn.add_k_proj(text))
    query, key, of_text = (x.unflatten(-1, (attn.heads, -1)) for x in projected)  # (n, N, heads, d)
    key = torch.cat([attn.norm_added_k(of_text), attn.norm_k(key)], dim=1)
    of_all = rotary[0]
    of_image = tuple(angles[text.shape[1] :] for angles in of_all)
    query = apply_rotary_emb(attn.norm_q(query), of_image, sequence_dim=1)
    key = apply_rotary_emb(key, of_all, sequence_dim=1)
    return query.transpose(1, 2), key.transpose(1, 2), 0


class Flux(DiffusersModel):
    """Run FLUX.1 (Black Forest Labs 2024).

    The dev models are told the guidance scale; the others are guided like any model. The schnell models, distilled
    without guidance, want a scale of 1.
    """

    samplers = SAMPLERS
    queries_and_keys = staticmethod(rotary_joint_attention)
    self_attention = re.compile(r"^transformer_blocks\.\d+\.attn$")
    default_sampler = "flow_euler"

    def __init__(self, pipeline: FluxPipeline, *, model_id: str, revision: str) -> None:
        super().__init__(pipeline, pipeline.transformer, patch_size=PATCH, model_id=model_id, revision=revision)
        self.image_size = self.vae.config.sample_size  # positions are rotary: the transformer knows no size
        self.is_told_guidance = bool(self.network.config.guidance_embeds)
        self.flow_schedule = FlowSchedule(pipeline.scheduler, model_id)
        self.tokenizer, self.text_encoder = pipeline.tokenizer, frozen(pipeline.text_encoder)
        self._prompt_length = prompt_length(self.tokenizer, self.text_encoder)
        self.t5_tokenizer, self.t5 = pipeline.tokenizer_2, frozen(pipeline.text_encoder_2)

    def denoiser(
        self, prompt_embeds: PromptEmbeds, guidance_scale: float | Tensor = 1.0, watch: Observer | None = None
    ) -> Denoiser:
        if not self.network.config.guidance_embeds:
            return self._guided(self._predict_velocity, prompt_embeds, guidance_scale, watch)
        told = self._told(guidance_scale, len(prompt_embeds))
        return self._unguided(self._predict_velocity, (*prompt_embeds.tensors, told), watch)

    def schedule(self, num_steps: int, sampler: str, *, image_size: ImageSize | None = None) -> Schedule:
        unshifted = np.linspace(1.0, 1.0 / max(num_steps, 1), num_steps).tolist()
        return self.flow_schedule.table(
            num_steps, sampler, image_tokens=self.image_tokens(image_size), unshifted=unshifted
        )

    def _encode_prompts(self, prompts: Sequence[str]) -> PromptEmbeds:
        ids = token_ids(self.tokenizer, prompts, self._prompt_length)
        pooled = self.text_encoder(ids.to(self.device)).pooler_output
        return PromptEmbeds(last_hidden(self.t5_tokenizer, self.t5, prompts, T5_TOKENS), pooled)

    def _token_parts(self) -> list[tuple[Any, int]]:
        return [(self.t5_tokenizer, T5_TOKENS)]

    def _unconditional(self) -> PromptEmbeds:
        return self.embed([""])

    def _predict_velocity(
        self, z: Tensor, t: Tensor, tokens: Tensor, pooled: Tensor, guidance: Tensor | None = None
    ) -> Tensor:
        height, width = z.shape[2:]
        velocity = self.network(
            hidden_states=pack(z).to(self.dtype),
            timestep=t / 1000.0,
            guidance=guidance,
            encoder_hidden_states=tokens,
            pooled_projections=pooled,
            txt_ids=torch.zeros(tokens.shape[1], 3, dtype=self.dtype, device=z.device),
            img_ids=positions(height // PATCH, width // PATCH).to(z.device, self.dtype),
        ).sample.float()
        return unpack(velocity, height, width)


def pack(latents: Float[Tensor, "B C h w"]) -> Float[Tensor, "B N D"]:
    """Return patches of 2 x 2 positions as tokens, row by row: N = h w / 4, D = 4 C."""
    batch, channels, height, width = latents.shape
    patches = latents.unflatten(3, (-1, PATCH)).unflatten(2, (-1, PATCH))  # (B, C, h/2, 2, w/2, 2)
    tokens = (height // PATCH) * (width // PATCH)
    return patches.permute(0, 2, 4, 1, 3, 5).reshape(batch, tokens, channels * PATCH**2)


def unpack(tokens: Float[Tensor, "B N D"], height: int, width: int) -> Float[Tensor, "B C h w"]:
    """Undo `pack`: return latents of that height and width."""
    patches = tokens.view(len(tokens), height // PATCH, width // PATCH, -1, PATCH, PATCH)
    return patches.permute(0, 3, 1, 4, 2, 5).reshape(len(tokens), -1, height, width)


def positions(rows: int, columns: int) -> Float[Tensor, "N 3"]:
    """Return (0, row, column) of each image token, for the rotary embedding; text tokens are all at the origin."""
    grid = torch.cartesian_prod(torch.arange(rows), torch.arange(columns))
    return torch.cat([torch.zeros(len(grid), 1, dtype=grid.dtype), grid], dim=1).float()
