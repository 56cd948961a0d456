"""The Stable Diffusion 1 and 2 family, latent consistency models among it, and what SDXL shares with it."""

from __future__ import annotations

import math
import re
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from diffusers import LatentConsistencyModelPipeline, StableDiffusionPipeline
from jaxtyping import Float
from torch import Tensor

from augment.diffusion import Denoiser, Schedule
from augment.models.attention import Observer
from augment.models.diffusers_model import DiffusersModel, frozen
from augment.models.interface import ImageSize, PromptEmbeds
from augment.models.noise_schedule import SAMPLERS, NoiseSchedule
from augment.models.text_encoders import last_hidden, prompt_length


def cross_attention(attn: Any, image: Tensor, text: Tensor, *rotary: Any) -> tuple[Tensor, Tensor, int]:
    """Return the `QueriesAndKeys` of a UNet's cross-attention, where positions attend to the text alone."""
    text = attn.norm_encoder_hidden_states(text) if attn.norm_cross else text
    query, key = (x.unflatten(-1, (attn.heads, -1)).transpose(1, 2) for x in (attn.to_q(image), attn.to_k(text)))
    query = query if attn.norm_q is None else attn.norm_q(query)
    return query, key if attn.norm_k is None else attn.norm_k(key), 0


class UNetModel(DiffusersModel):
    """Run a `UNet2DConditionModel` on a variance-preserving noise schedule.

    Latent consistency models (Luo et al. 2023) are the same networks, told the guidance scale.
    """

    samplers = SAMPLERS
    queries_and_keys = staticmethod(cross_attention)
    self_attention = re.compile(r"\.attn1$")
    has_cross_attention = True

    def __init__(self, pipeline: Any, *, model_id: str, revision: str) -> None:
        super().__init__(pipeline, pipeline.unet, model_id=model_id, revision=revision)
        self.image_size = self.network.config.sample_size * self.latent_factor
        self.noise_schedule = NoiseSchedule(pipeline.scheduler, model_id, self.device)
        self._guidance_width = self.network.config.time_cond_proj_dim
        self.default_sampler = "lcm" if self._guidance_width else "ddim"
        self.is_told_guidance = bool(self._guidance_width)

    @abstractmethod
    def _added_conditions(self, z: Float[Tensor, "B C h w"], *pooled: Tensor) -> dict[str, Tensor] | None:
        """Return what the UNet is told beside the prompt's tokens."""

    def denoiser(
        self, prompt_embeds: PromptEmbeds, guidance_scale: float | Tensor = 1.0, watch: Observer | None = None
    ) -> Denoiser:
        if not self._guidance_width:
            return self._guided(self._predict_eps, prompt_embeds, guidance_scale, watch)
        scales = self._told(guidance_scale, len(prompt_embeds))
        told = guidance_embedding(scales, self._guidance_width).to(self.dtype)
        return self._unguided(self._predict_eps_told, (told, *prompt_embeds.tensors), watch)

    def schedule(self, num_steps: int, sampler: str, *, image_size: ImageSize | None = None) -> Schedule:
        return self.noise_schedule.table(num_steps, sampler)  # the same for every image size

    def _predict_eps_told(self, z: Tensor, t: Tensor, guidance: Tensor, *prompt: Tensor) -> Tensor:
        return self._predict_eps(z, t, *prompt, guidance=guidance)

    def _predict_eps(
        self, z: Tensor, t: Tensor, tokens: Tensor, *pooled: Tensor, guidance: Tensor | None = None
    ) -> Tensor:
        prediction = self.network(
            z.to(self.dtype),
            t,
            encoder_hidden_states=tokens,
            timestep_cond=guidance,
            added_cond_kwargs=self._added_conditions(z, *pooled),
        ).sample
        return self.noise_schedule.eps(prediction.float(), z.float(), t)


class StableDiffusion(UNetModel):
    """Run Stable Diffusion 1 or 2, conditioned on the last layer of one CLIP text encoder (Rombach et al. 2022)."""

    def __init__(
        self, pipeline: StableDiffusionPipeline | LatentConsistencyModelPipeline, *, model_id: str, revision: str
    ) -> None:
        super().__init__(pipeline, model_id=model_id, revision=revision)
        self.text_encoder = frozen(pipeline.text_encoder)
        self.tokenizer = pipeline.tokenizer
        self._prompt_length = prompt_length(self.tokenizer, self.text_encoder)

    def _encode_prompts(self, prompts: Sequence[str]) -> PromptEmbeds:
        return PromptEmbeds(last_hidden(self.tokenizer, self.text_encoder, prompts, self._prompt_length))

    def _token_parts(self) -> list[tuple[Any, int]]:
        return [(self.tokenizer, self._prompt_length)]

    def _unconditional(self) -> PromptEmbeds:
        return self.embed([""])

    def _added_conditions(self, z: Float[Tensor, "B C h w"], *pooled: Tensor) -> dict[str, Tensor] | None:
        return None


def guidance_embedding(guidance_scale: Float[Tensor, " B"], dim: int) -> Float[Tensor, "B dim"]:
    """Return the sinusoidal embedding of 1000 (w - 1), float32 [B, dim].

    Latent consistency models are told the guidance scale by it (Luo et al. 2023, section 4.2). The frequencies
    are those of Vaswani et al. 2017, section 3.5, from 1 to 1/10000.

    Args:
        guidance_scale: w.
        dim: width of the embedding, even.
    """
    half = dim // 2
    frequencies = torch.exp(torch.arange(half, device=guidance_scale.device) * (-math.log(10000.0) / (half - 1)))
    phase = 1000.0 * (guidance_scale.float() - 1.0)[:, None] * frequencies
    return torch.cat([phase.sin(), phase.cos()], dim=1)
