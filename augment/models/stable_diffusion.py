"""The Stable Diffusion 1 and 2 family: UNet with cross-attention to one CLIP text encoder, AutoencoderKL."""

from __future__ import annotations

import inspect
from collections.abc import Sequence

import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline
from jaxtyping import Float
from torch import Tensor

from augment.diffusion import Denoiser, Schedule, ddim, guided
from augment.diffusion.schedule import Spacing
from augment.models.interface import LatentDiffusion

PREDICTION_TYPES = ("epsilon", "v_prediction", "sample")


class StableDiffusion(LatentDiffusion):
    """Wraps a loaded `StableDiffusionPipeline`; only its networks are used, never its sampling loop."""

    def __init__(self, pipeline: StableDiffusionPipeline, *, model_id: str, revision: str) -> None:
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
        # The noise schedule belongs to the model, whichever scheduler class its authors saved it under.
        self._scheduler = DDIMScheduler.from_config(pipeline.scheduler.config, clip_sample=False)
        self._alphas = self._scheduler.alphas_cumprod.to(self.device)
        # Schedulers of the Euler kind end in clean latents, whatever `set_alpha_to_one` their config carries unread.
        reads_it = "set_alpha_to_one" in inspect.signature(type(pipeline.scheduler).__init__).parameters
        self._final_alpha_cumprod = float(self._scheduler.final_alpha_cumprod) if reads_it else 1.0
        self._prediction_type = self._scheduler.config.prediction_type
        if self._prediction_type not in PREDICTION_TYPES:
            raise ValueError(
                f"model {model_id!r}: prediction_type {self._prediction_type!r} of its scheduler is not supported; "
                f"supported are {', '.join(PREDICTION_TYPES)}"
            )

    @torch.no_grad()
    def encode(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B C h w"]:
        images = images.to(self.device, self.vae.dtype)
        return self.vae.encode(images).latent_dist.mode().float() * self.vae.config.scaling_factor

    @torch.no_grad()
    def decode(self, latents: Float[Tensor, "B C h w"]) -> Float[Tensor, "B 3 H W"]:
        latents = (latents / self.vae.config.scaling_factor).to(self.device, self.vae.dtype)
        return self.vae.decode(latents).sample.float().clamp(-1.0, 1.0)

    @torch.no_grad()
    def embed(self, prompts: Sequence[str]) -> Float[Tensor, "B L D"]:
        distinct = list(dict.fromkeys(prompts))
        tokens = self.tokenizer(
            distinct,
            padding="max_length",
            max_length=self.tokenizer.model_max_length,
            truncation=True,
            return_tensors="pt",
        )
        embeds = self.text_encoder(tokens.input_ids.to(self.device))[0]
        return embeds[[distinct.index(p) for p in prompts]]

    def denoiser(self, prompt_embeds: Float[Tensor, "B L D"], guidance_scale: float = 1.0) -> Denoiser:
        empty = self.embed([""]).expand_as(prompt_embeds)
        return guided(self._predict_eps, prompt_embeds, empty, guidance_scale)

    def schedule(self, num_steps: int, sampler: str = "ddim") -> Schedule:
        if sampler != "ddim":
            raise ValueError(f"sampler {sampler!r} is not available for {self.model_id!r}; there is 'ddim'")
        config = self._scheduler.config
        # `linspace`, the default of the Euler schedulers, also starts at the last timestep: trailing is its DDIM form.
        spacing: Spacing = "leading" if config.timestep_spacing == "leading" else "trailing"
        return ddim(
            self._scheduler.alphas_cumprod,
            num_steps,
            spacing=spacing,
            steps_offset=config.steps_offset,
            final_alpha_cumprod=self._final_alpha_cumprod,
        )

    def _predict_eps(self, z: Tensor, t: Tensor, prompt_embeds: Tensor) -> Tensor:
        """The network's answer as predicted noise, float32 (Salimans & Ho 2022, appendix D, for v)."""
        prediction = self.unet(z.to(self.dtype), t, encoder_hidden_states=prompt_embeds).sample.float()
        if self._prediction_type == "epsilon":
            return prediction
        alpha = self._alphas[t.long()].view(-1, 1, 1, 1)
        signal, noise = alpha.sqrt(), (1 - alpha).sqrt()
        if self._prediction_type == "v_prediction":
            return signal * prediction + noise * z.float()
        return (z.float() - signal * prediction) / noise
