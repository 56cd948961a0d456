"""A diffusers scheduler's training noise schedule: the tables of our samplers on it, and predictions as noise."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import torch
from diffusers import DDIMScheduler
from jaxtyping import Float
from torch import Tensor

from augment.diffusion import Schedule, ddim, euler, euler_ancestral, lcm
from augment.diffusion.schedule import Spacing
from augment.models.config import ModelError

SAMPLERS = ("ddim", "euler", "euler_ancestral", "lcm")
PREDICTION_TYPES = ("epsilon", "v_prediction", "sample")


class NoiseSchedule:
    """Of a variance-preserving model; it belongs to the model, whichever scheduler class its authors saved it under.

    Raises:
        ModelError: for a scheduler of another kind of model, or a prediction type not among `PREDICTION_TYPES`.
    """

    def __init__(self, scheduler: Any, model_id: str, device: torch.device) -> None:
        if "beta_schedule" not in scheduler.config:  # of EDM or flow matching: its numbers would be taken for betas
            raise ModelError(
                f"model {model_id!r}: its scheduler {type(scheduler).__name__} has no beta schedule, so this is no "
                "variance-preserving model; use one that is saved with a DDIM, PNDM, Euler, DPM or LCM scheduler"
            )
        ddim_scheduler = DDIMScheduler.from_config(scheduler.config, clip_sample=False)
        self.config = scheduler.config
        self.alphas_cumprod = ddim_scheduler.alphas_cumprod
        self.prediction_type = ddim_scheduler.config.prediction_type
        self._steps_offset = ddim_scheduler.config.steps_offset
        self._spacing: Spacing = ddim_scheduler.config.timestep_spacing
        self._sigmas = ((1 - self.alphas_cumprod) / self.alphas_cumprod).sqrt().double().numpy()
        self._device = device
        # Schedulers of the Euler kind end in clean latents, whatever `set_alpha_to_one` their config carries unread.
        reads_it = "set_alpha_to_one" in inspect.signature(type(scheduler).__init__).parameters
        self.final_alpha_cumprod = float(ddim_scheduler.final_alpha_cumprod) if reads_it else 1.0
        if self.prediction_type not in PREDICTION_TYPES:
            raise ModelError(
                f"model {model_id!r}: prediction_type {self.prediction_type!r} of its scheduler is not supported; "
                f"supported are {', '.join(PREDICTION_TYPES)}"
            )

    def table(self, num_steps: int, sampler: str, model_id: str) -> Schedule:
        """The steps of a sampler.

        Raises:
            ValueError: for a sampler that is not one of `SAMPLERS`.
        """
        alphas = self.alphas_cumprod
        if sampler == "ddim":
            # `linspace`, the default of the Euler schedulers, starts at the last timestep: trailing is its DDIM form.
            return ddim(
                alphas,
                num_steps,
                spacing="leading" if self._spacing == "leading" else "trailing",
                steps_offset=self._steps_offset,
                final_alpha_cumprod=self.final_alpha_cumprod,
            )
        if sampler == "euler":
            return euler(alphas, num_steps, spacing=self._spacing, steps_offset=self._steps_offset)
        if sampler == "euler_ancestral":
            return euler_ancestral(alphas, num_steps, spacing=self._spacing, steps_offset=self._steps_offset)
        if sampler == "lcm":
            original_steps = self.config.get("original_inference_steps", 50)
            scaling = self.config.get("timestep_scaling", 10.0)
            return lcm(alphas, num_steps, original_steps=original_steps, timestep_scaling=scaling)
        raise ValueError(f"sampler {sampler!r} is not available for {model_id!r}; there are {', '.join(SAMPLERS)}")

    def eps(
        self, prediction: Float[Tensor, "B C H W"], z: Float[Tensor, "B C H W"], t: Float[Tensor, " B"]
    ) -> Float[Tensor, "B C H W"]:
        """The network's answer as predicted noise (Salimans & Ho 2022, appendix D, for v).

        Between timesteps the noise level is interpolated, as the Euler schedulers of diffusers do.
        """
        if self.prediction_type == "epsilon":
            return prediction
        sigma = np.interp(t.double().cpu().numpy(), np.arange(len(self._sigmas)), self._sigmas)
        sigma_ = torch.from_numpy(sigma).float().to(z.device).view(-1, 1, 1, 1)
        signal = 1 / (1 + sigma_.square()).sqrt()
        noise = sigma_ * signal
        if self.prediction_type == "v_prediction":
            return signal * prediction + noise * z
        return (z - signal * prediction) / noise
