"""A diffusers flow-matching scheduler's noise levels: the table of our Euler sampler on them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from diffusers import FlowMatchEulerDiscreteScheduler

from augment.diffusion import Schedule, flow_euler
from augment.models.config import ModelError

SAMPLERS = ("flow_euler",)


class FlowSchedule:
    """Of a rectified flow, sampled with more steps at high noise the larger the image is (Esser et al. 2024, eq. 23).

    Models with dynamic shifting get the shift of the image size they were trained for, whatever size is edited.

    Args:
        scheduler: of the pipeline.
        image_tokens: that an image of the training size is made of.

    Raises:
        ModelError: for a scheduler of another kind.
    """

    def __init__(self, scheduler: Any, model_id: str, image_tokens: int) -> None:
        if not isinstance(scheduler, FlowMatchEulerDiscreteScheduler):
            raise ModelError(
                f"model {model_id!r}: its scheduler {type(scheduler).__name__} is not supported; supported for flow "
                "models is FlowMatchEulerDiscreteScheduler"
            )
        self._model_id = model_id
        self._config = config = scheduler.config
        slope = (config.max_shift - config.base_shift) / (config.max_image_seq_len - config.base_image_seq_len)
        self._mu = config.base_shift + slope * (image_tokens - config.base_image_seq_len)

    def table(self, num_steps: int, sampler: str, *, unshifted: Sequence[float] | None = None) -> Schedule:
        """The steps of a sampler.

        Args:
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
        scheduler.set_timesteps(num_steps, sigmas=unshifted, mu=self._mu)
        return flow_euler(scheduler.sigmas[:-1].tolist(), num_train_timesteps=self._config.num_train_timesteps)
