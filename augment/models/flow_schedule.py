"""A diffusers flow-matching scheduler's noise levels: the table of our Euler sampler on them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from diffusers import FlowMatchEulerDiscreteScheduler

from augment.diffusion import Schedule, flow_euler
from augment.errors import ModelError

SAMPLERS = ("flow_euler",)
UNSUPPORTED = ("invert_sigmas", "stochastic_sampling")


class FlowSchedule:
    """Hold the noise levels of a rectified flow.

    Models with dynamic shifting take more steps at high noise the larger the image is (Esser et al. 2024, eq. 23). All
    of the scheduler's settings are followed (`shift`, `shift_terminal`, `time_shift_type`, `use_karras_sigmas`,
    `use_exponential_sigmas`, `use_beta_sigmas`) but those in `UNSUPPORTED`.

    Raises:
        ModelError: for a scheduler of another kind, or a setting in `UNSUPPORTED` that is on.
    """

    def __init__(self, scheduler: Any, model_id: str) -> None:
        """
        Args:
            scheduler: of a diffusers pipeline; only its config is read.
            model_id: for error messages.
        """
        if not isinstance(scheduler, FlowMatchEulerDiscreteScheduler):
            raise ModelError(
                f"model {model_id!r}: its scheduler {type(scheduler).__name__} is not supported; supported for flow "
                "models is FlowMatchEulerDiscreteScheduler, which a copy of the model can be saved with"
            )
        self._model_id = model_id
        self._config = scheduler.config
        for key in UNSUPPORTED:
            if self._config.get(key):
                raise ModelError(
                    f"model {model_id!r}: {key} {self._config[key]!r} of its scheduler is not supported; use a model "
                    f"without it, or set {key} to false in scheduler/scheduler_config.json of a copy of the model if "
                    "its network does not need it"
                )

    def table(
        self, num_steps: int, sampler: str, *, image_tokens: int, unshifted: Sequence[float] | None = None
    ) -> Schedule:
        """Return the steps of a sampler for images of some size.

        Args:
            num_steps: number of steps, at least 1.
            sampler: one of `SAMPLERS`.
            image_tokens: how many tokens the edited image is made of; only dynamic shifting reads it.
            unshifted: sigmas before the shift; None for those the scheduler chooses.

        Raises:
            ValueError: for a sampler that is not one of `SAMPLERS`, or without steps.
        """
        if sampler not in SAMPLERS:
            raise ValueError(
                f"sampler {sampler!r} is not available for {self._model_id!r}; there are {', '.join(SAMPLERS)}"
            )
        if num_steps < 1:
            raise ValueError(f"num_steps must be at least 1, got {num_steps}")
        # The scheduler shifts the end points of its sigmas twice, and may stretch them or respace them: asking it is
        # the only way to the levels its models are sampled with. It is a copy, because asking changes it.
        scheduler = FlowMatchEulerDiscreteScheduler.from_config(self._config)
        mu = self._mu(image_tokens) if self._config.use_dynamic_shifting else None
        scheduler.set_timesteps(num_steps, sigmas=unshifted, mu=mu)
        return flow_euler(scheduler.sigmas[:-1].tolist(), num_train_timesteps=self._config.num_train_timesteps)

    def _mu(self, image_tokens: int) -> float:
        """Return the shift's mu, linear in the number of tokens as diffusers' pipelines have it."""
        config = self._config
        slope = (config.max_shift - config.base_shift) / (config.max_image_seq_len - config.base_image_seq_len)
        return config.base_shift + slope * (image_tokens - config.base_image_seq_len)
