"""The Stable Diffusion 1 and 2 family, latent consistency models among it: UNet with cross-attention to one CLIP text encoder, AutoencoderKL."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from diffusers import LatentConsistencyModelPipeline, StableDiffusionPipeline
from jaxtyping import Float
from torch import Tensor

from augment.diffusion import Denoiser, Schedule, guided
from augment.models.interface import LatentDiffusion, PromptEmbeds
from augment.models.noise_schedule import SAMPLERS, NoiseSchedule


class StableDiffusion(LatentDiffusion):
    """Wraps a loaded pipeline; only its networks are used, never its sampling loop.

    Latent consistency models (Luo et al. 2023) are the same networks, told the guidance scale.
    """

    samplers = SAMPLERS

    def __init__(
        self, pipeline: StableDiffusionPipeline | LatentConsistencyModelPipeline, *, model_id: str, revision: str
    ) -> None:
        self.model_id = model_id
        self.revision = revision
        self.vae = pipeline.vae.eval().requires_grad_(False)
        self.unet = pipeline.unet.eval().requires_grad_(False)
        self.text_encoder = pipeline.text_encoder.eval().requires_grad_(False)
        self.tokenizer = pipeline.tokenizer
        self.device = self.unet.device
        self.dtype = self.unet.dtype
        self.factor = 2 ** (len(self.vae.config.block_out_channels) - 1)
        self.image_size = self.unet.config.sample_size * self.factor
        self._guidance_width = self.unet.config.time_cond_proj_dim
        self.noise_schedule = NoiseSchedule(pipeline.scheduler, model_id, self.device)

    @torch.no_grad()
    def encode(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B C h w"]:
        images = images.to(self.device, self.vae.dtype)
        return self.vae.encode(images).latent_dist.mode().float() * self.vae.config.scaling_factor

    @torch.no_grad()
    def decode(self, latents: Float[Tensor, "B C h w"]) -> Float[Tensor, "B 3 H W"]:
        latents = (latents / self.vae.config.scaling_factor).to(self.device, self.vae.dtype)
        return self.vae.decode(latents).sample.float().clamp(-1.0, 1.0)

    @torch.no_grad()
    def embed(self, prompts: Sequence[str]) -> PromptEmbeds:
        distinct = list(dict.fromkeys(prompts))
        tokens = self.tokenizer(
            distinct,
            padding="max_length",
            max_length=self.tokenizer.model_max_length,
            truncation=True,
            return_tensors="pt",
        )
        embeds = self.text_encoder(tokens.input_ids.to(self.device))[0]
        return PromptEmbeds(embeds[[distinct.index(p) for p in prompts]])

    def denoiser(self, prompt_embeds: PromptEmbeds, guidance_scale: float = 1.0) -> Denoiser:
        tokens = prompt_embeds.tokens
        if self._guidance_width:  # told the scale instead of being evaluated twice
            scales = torch.full((len(tokens),), guidance_scale, device=self.device)
            return Denoiser(self._predict_eps, (tokens, guidance_embedding(scales, self._guidance_width)))
        empty = self.embed([""]).tokens.expand_as(tokens)
        return guided(self._predict_eps, (tokens,), (empty,), guidance_scale)

    def schedule(self, num_steps: int, sampler: str) -> Schedule:
        return self.noise_schedule.table(num_steps, sampler, self.model_id)

    def _predict_eps(self, z: Tensor, t: Tensor, prompt_embeds: Tensor, guidance: Tensor | None = None) -> Tensor:
        prediction = self.unet(z.to(self.dtype), t, encoder_hidden_states=prompt_embeds, timestep_cond=guidance)
        return self.noise_schedule.eps(prediction.sample.float(), z.float(), t)


def guidance_embedding(guidance_scale: Float[Tensor, " B"], dim: int) -> Float[Tensor, "B dim"]:
    """Sinusoidal embedding of 1000 (w - 1), which latent consistency models are told (Luo et al. 2023, section 4.2).

    The frequencies are those of Vaswani et al. 2017, section 3.5, from 1 to 1/10000.
    """
    half = dim // 2
    frequencies = torch.exp(torch.arange(half, device=guidance_scale.device) * (-math.log(10000.0) / (half - 1)))
    phase = 1000.0 * (guidance_scale.float() - 1.0)[:, None] * frequencies
    return torch.cat([phase.sin(), phase.cos()], dim=1)
