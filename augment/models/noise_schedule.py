"""A diffusers scheduler's training noise schedule: the tables of our samplers on it, and predictions as noise."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from diffusers import DDIMScheduler
from jaxtyping import Float
from torch import Tensor

from augment.diffusion import (
    Schedule,
    ddim,
    euler,
    euler_ancestral,
    lcm,
)
from augment.diffusion.levels import Respacing, Spacing
from augment.diffusion.schedule import Joints
from augment.errors import ModelError

SAMPLERS = ("ddim", "euler", "euler_ancestral", "lcm")
PREDICTION_TYPES = ("epsilon", "v_prediction", "sample")

# Values in a scheduler's config that diffusers' scheduler of the sampler's name acts on and that ours cannot.
UNSUPPORTED: dict[str, tuple[tuple[str, Any], ...]] = {
    "ddim": (("thresholding", True),),
    "euler": (("use_beta_sigmas", True), ("interpolation_type", "log_linear"), ("final_sigmas_type", "sigma_min")),
    "euler_ancestral": (),
    "lcm": (("thresholding", True),),
}


class NoiseSchedule:
    """Hold the noise schedule of a variance-preserving model.

    It belongs to the model, whichever scheduler class its authors saved it under. A sampler reads of the scheduler's
    config what diffusers' scheduler of the same name reads. So `use_karras_sigmas`, `use_exponential_sigmas`,
    `sigma_min` and `sigma_max`, which many models carry for DPM++, space the levels of `euler` and have no meaning for
    `ddim`, `euler_ancestral` and `lcm`; what belongs to DPM solvers alone (`use_lu_lambdas`, `algorithm_type`,
    `solver_order`, ...) has none for any sampler here. `clip_sample`, which bounds pixels, is off, as in diffusers'
    latent pipelines, and every table ends in clean latents whatever `set_alpha_to_one` says (`augment.diffusion.ddim`).

    Attributes:
        alphas_cumprod: of the training schedule, float32 [T], on the CPU.
        prediction_type: what the network answers, one of `PREDICTION_TYPES`.
        final_alpha_cumprod: where diffusers' own DDIM ends.

    Raises:
        ModelError: for a scheduler of another kind of model, a prediction type not among `PREDICTION_TYPES`, or a
            network that is told the noise level instead of a training timestep.
    """

    def __init__(self, scheduler: Any, model_id: str, device: torch.device) -> None:
        """
        Args:
            scheduler: of a diffusers pipeline; only its config is read.
            model_id: for error messages.
            device: where predictions are turned into noise.
        """
        if "beta_schedule" not in scheduler.config:  # of EDM or flow matching: its numbers would be taken for betas
            raise ModelError(
                f"model {model_id!r}: its scheduler {type(scheduler).__name__} has no beta schedule, so this is no "
                "variance-preserving model; use one that is saved with a DDIM, PNDM, Euler, DPM or LCM scheduler"
            )
        # Without diffusers' note of which values are defaults: it would replace them by those of DDIMScheduler, which
        # knows another beta schedule than LCMScheduler and another spacing than the Euler schedulers.
        self._config = {key: value for key, value in scheduler.config.items() if key != "_use_default_values"}
        ddim_scheduler = DDIMScheduler.from_config(self._config, clip_sample=False)
        self._model_id = model_id
        self.alphas_cumprod = ddim_scheduler.alphas_cumprod
        self.prediction_type = ddim_scheduler.config.prediction_type
        self._steps_offset = ddim_scheduler.config.steps_offset
        self._spacing: Spacing = ddim_scheduler.config.timestep_spacing
        # On the device once: at every call of the network a transfer would wait for it. An infinite last sigma
        # (rescale_betas_zero_snr) is not walked, but the timestep before it interpolates towards it.
        sigmas = ((1 - self.alphas_cumprod) / self.alphas_cumprod).sqrt().double()
        self._sigmas = sigmas.nan_to_num(posinf=float(torch.finfo(torch.float32).max)).to(device)
        # Schedulers of the Euler kind end in clean latents, whatever `set_alpha_to_one` their config carries unread.
        reads_it = "set_alpha_to_one" in inspect.signature(type(scheduler).__init__).parameters
        self.final_alpha_cumprod = float(ddim_scheduler.final_alpha_cumprod) if reads_it else 1.0
        if self.prediction_type not in PREDICTION_TYPES:
            raise ModelError(
                f"model {model_id!r}: prediction_type {self.prediction_type!r} of its scheduler is not supported; "
                f"supported are {', '.join(PREDICTION_TYPES)}"
            )
        if self.prediction_type == "v_prediction" and self._config.get("timestep_type") == "continuous":
            raise ModelError(
                f"model {model_id!r}: timestep_type 'continuous' of its scheduler is not supported: the network is "
                "told log(sigma) / 4 instead of a training timestep; use a model with timestep_type 'discrete'"
            )

    def table(self, num_steps: int, sampler: str, *, joints: Joints = "closed") -> Schedule:
        """Return the steps of a sampler on this noise schedule.

        Args:
            num_steps: number of steps.
            sampler: one of `SAMPLERS`.
            joints: `diffusers` makes `ddim` the table of diffusers' scheduler, to compare with; see
                `augment.diffusion.ddim`.

        Raises:
            ModelError: if the scheduler's config asks of this sampler what is not supported.
            ValueError: for a sampler that is not one of `SAMPLERS`, or a number of steps it cannot take.
        """
        if sampler not in SAMPLERS:
            raise ValueError(
                f"sampler {sampler!r} is not available for {self._model_id!r}; there are {', '.join(SAMPLERS)}"
            )
        self._check_supported(sampler)
        alphas = self.alphas_cumprod
        if sampler == "ddim":
            # `linspace`, the default of the Euler schedulers, starts at the last timestep: trailing is its DDIM form.
            return ddim(
                alphas,
                num_steps,
                spacing="leading" if self._spacing == "leading" else "trailing",
                steps_offset=self._steps_offset,
                joints=joints,
                final_alpha_cumprod=self.final_alpha_cumprod,
            )
        if sampler == "euler":
            return euler(
                alphas,
                num_steps,
                spacing=self._spacing,
                steps_offset=self._steps_offset,
                respacing=self._respacing(),
                sigma_min=self._config.get("sigma_min"),
                sigma_max=self._config.get("sigma_max"),
            )
        if sampler == "euler_ancestral":
            return euler_ancestral(alphas, num_steps, spacing=self._spacing, steps_offset=self._steps_offset)
        original_steps = self._config.get("original_inference_steps", 50)
        scaling = self._config.get("timestep_scaling", 10.0)
        return lcm(alphas, num_steps, original_steps=original_steps, timestep_scaling=scaling)

    def eps(
        self, prediction: Float[Tensor, "B C H W"], z: Float[Tensor, "B C H W"], t: Float[Tensor, " B"]
    ) -> Float[Tensor, "B C H W"]:
        """Return the network's answer as predicted noise (Salimans & Ho 2022, appendix D, for v).

        Between timesteps sigma is interpolated linearly, as the tables do. Nothing leaves the device.

        Args:
            prediction: the network's answer, of this `prediction_type`.
            z: the latents it was asked about.
            t: their timesteps, 0 to T - 1, on the device of the noise schedule.
        """
        if self.prediction_type == "epsilon":
            return prediction
        below = t.double().floor().clamp(0, len(self._sigmas) - 2)
        index = below.long()
        sigma = torch.lerp(self._sigmas[index], self._sigmas[index + 1], t.double() - below).float().view(-1, 1, 1, 1)
        signal = 1 / (1 + sigma.square()).sqrt()
        noise = sigma * signal
        if self.prediction_type == "v_prediction":
            return signal * prediction + noise * z
        return (z - signal * prediction) / noise

    def _respacing(self) -> Respacing:
        if self._config.get("use_karras_sigmas"):
            return "karras"
        return "exponential" if self._config.get("use_exponential_sigmas") else "none"

    def _check_supported(self, sampler: str) -> None:
        for key, value in UNSUPPORTED[sampler]:
            if self._config.get(key) == value:
                others = [s for s in SAMPLERS if all(k != key for k, _ in UNSUPPORTED[s])]
                raise ModelError(
                    f"model {self._model_id!r}: {key} {value!r} of its scheduler is not supported with the {sampler} "
                    f"sampler; choose a sampler that does not read it ({', '.join(others)}), or change {key} in "
                    "scheduler/scheduler_config.json of a copy of the model"
                )
