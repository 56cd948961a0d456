"""Images per second and memory of inversion as the batch grows, relative to the released code's way of working."""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Literal, Self

from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from augment.diffusion import Schedule, step_noise
from augment.editing.inverted import size_of
from augment.errors import ConfigError
from augment.evaluation.memory import peak_bytes
from augment.evaluation.pool import Batch, InversionMethod
from augment.evaluation.reconstruction import model_label, now
from augment.models.diffusers_model import DiffusersModel
from augment.models.interface import ImageSize, LatentDiffusion

REFERENCE: Literal["rnri_released"] = "rnri_released"


class ThroughputSection(BaseModel):
    """Images per second and peak memory over batch sizes, without guidance."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    methods: tuple[InversionMethod, ...] = Field(min_length=1, description="solvers with their iteration limits")
    batch_sizes: tuple[int, ...] = Field(default=(1, 4, 16, 64), description="images inverted together")
    sampler: str = Field(default="", description="sampler that is inverted; empty for the model's own")
    num_steps: int = Field(default=10, ge=1, description="length of the schedule")
    repeats: int = Field(default=5, ge=1, description="interleaved repeats; images per second are of the median")

    @model_validator(mode="after")
    def _has_its_reference(self) -> Self:
        if min(self.batch_sizes, default=0) < 1 or 1 not in self.batch_sizes:
            raise ValueError(f"batch_sizes must be positive and 1 among them, the reference; got {self.batch_sizes}")
        if [m.solver.name for m in self.methods].count(REFERENCE) != 1:
            raise ValueError(f"methods must have {REFERENCE!r}, the reference, and have it once")
        return self


@dataclass(frozen=True)
class ThroughputRow:
    """One method at one batch size.

    Attributes:
        model, solver, settings, warm_start, stop: as in `augment.evaluation.InversionRow`.
        images_per_second: in the median repeat.
        ratio_to_released_batch1: `images_per_second` over that of `rnri_released` at batch size 1 in the same run.
        seconds_per_image, seconds_min, seconds_max: median and range over the repeats, for the inversion alone.
        peak_bytes: memory of the inversion, beyond what was there before; see `augment.evaluation.memory`.
        peak_bytes_checkpointed: the same when the network's blocks keep only their inputs for the backward pass and
            are computed again in it. None for methods without a backward pass, which keep nothing in any case, and for
            models that cannot.
    """

    model: str
    solver: str
    settings: dict[str, Any]
    warm_start: str
    stop: dict[str, Any]
    sampler: str
    num_steps: int
    batch_size: int
    images_per_second: float
    ratio_to_released_batch1: float
    seconds_per_image: float
    seconds_min: float
    seconds_max: float
    peak_bytes: int
    peak_bytes_checkpointed: int | None

    def as_dict(self) -> dict[str, Any]:
        """Return the row for the report, where the limits are fields like the others."""
        row = asdict(self)
        return {**row.pop("stop"), **row}


def throughput_schedule(model: LatentDiffusion, section: ThroughputSection, image_size: ImageSize) -> Schedule:
    """Return the section's schedule; raise ConfigError for one that the model cannot run."""
    try:
        schedule = model.schedule(section.num_steps, section.sampler or model.default_sampler, image_size=image_size)
        return schedule.last_part(1.0)  # refuses one that cannot be inverted as a whole
    except ValueError as error:
        where = f"throughput.sampler {section.sampler!r}, throughput.num_steps {section.num_steps}"
        raise ConfigError("the section `throughput`", [f"{where}: {error}"]) from error


def measure_throughput(
    model: LatentDiffusion, images: Float[Tensor, "N 3 H W"], prompts: Sequence[str], section: ThroughputSection
) -> list[ThroughputRow]:
    """Time every method at every batch size, all in turn, `section.repeats` times.

    A batch is the first so many images, repeated where there are too few. With a tolerance, what a method costs depends
    on what they show; without one it does not.
    """
    schedule = throughput_schedule(model, section, size_of(images))
    batches = {}
    for size in section.batch_sizes:
        places = [i % len(images) for i in range(size)]
        denoiser = model.denoiser(model.embed([prompts[i] for i in places]))
        latents = model.encode(images[places])
        batches[size] = Batch(denoiser, latents, step_noise(schedule, latents, range(size)))
    cells = [(method, size) for method in section.methods for size in section.batch_sizes]
    calls = [partial(method.invert, batches[size], schedule) for method, size in cells]
    # The first, untimed calls also pay for kernel selection and the workspaces of kernels.
    differentiates = [bool(call().vjp.any()) for call in calls]
    peaks = [peak_bytes(call, model.device) for call in calls]
    checkpointed: list[int | None] = [None for _ in calls]
    if isinstance(model, DiffusersModel):
        with recomputed_blocks(model):
            checkpointed = [
                peak_bytes(call, model.device) if has_backward else None
                for call, has_backward in zip(calls, differentiates, strict=True)
            ]
    spent: list[list[float]] = [[] for _ in calls]
    for _ in range(section.repeats):
        for (_, size), call, seconds in zip(cells, calls, spent, strict=True):
            began = now(model.device)
            call()
            seconds.append((now(model.device) - began) / size)
    reference = next(i for i, (method, size) in enumerate(cells) if method.solver.name == REFERENCE and size == 1)
    return [
        ThroughputRow(
            model=model_label(model),
            solver=method.solver.name,
            settings=method.settings,
            warm_start=method.warm_start,
            stop=method.stop.model_dump(),
            sampler=schedule.name,
            num_steps=section.num_steps,
            batch_size=size,
            images_per_second=1.0 / statistics.median(seconds),
            ratio_to_released_batch1=statistics.median(spent[reference]) / statistics.median(seconds),
            seconds_per_image=statistics.median(seconds),
            seconds_min=min(seconds),
            seconds_max=max(seconds),
            peak_bytes=peak,
            peak_bytes_checkpointed=less,
        )
        for (method, size), seconds, peak, less in zip(cells, spent, peaks, checkpointed, strict=True)
    ]


@contextlib.contextmanager
def recomputed_blocks(model: DiffusersModel) -> Iterator[None]:
    """Make the network checkpoint its blocks wherever a gradient is taken, also in evaluation mode.

    Checkpointing the whole network call instead, which any model could do, saves nothing: RNRI differentiates one call
    at a time, and computing it again keeps all of its activations at once.
    """
    model.network.enable_gradient_checkpointing()
    try:
        yield
    finally:
        model.network.disable_gradient_checkpointing()
