"""The reconstruction tables of the benchmark: every method with every sampler at every number of steps."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from augment.diffusion import Denoiser, Schedule
from augment.editing.inverted import size_of
from augment.errors import ConfigError
from augment.evaluation.pool import InversionMethod, Pool
from augment.evaluation.reconstruction import measure_inversion, model_label, noise_figures, now
from augment.inversion import edit_friendly
from augment.models.interface import ImageSize, LatentDiffusion


class InversionSection(BaseModel):
    """Reconstruction: every method with every sampler at every number of steps."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    samplers: tuple[str, ...] = Field(default=("ddim",), min_length=1, description="samplers to invert and sample with")
    num_steps: tuple[int, ...] = Field(min_length=1, description="lengths of the schedule")
    match_noise: tuple[bool, ...] = Field(
        default=(True,), min_length=1, description="samplers' own noise: drawn given the image (true), or regardless"
    )
    noise_maps: bool = Field(default=False, description="edit-friendly noise maps, with the samplers that add noise")
    guidance_scale: float = Field(default=1.0, ge=1, description="guidance while inverting and sampling back")
    methods: tuple[InversionMethod, ...] = Field(min_length=1, description="solvers with their iteration limits")
    repeats: int = Field(default=1, ge=1, description="interleaved repeats; seconds are medians")


@dataclass(frozen=True)
class NoiseMapRow:
    """What edit-friendly noise maps did on one schedule; the fields of `InversionRow`.

    They are apart because they promise something else: no equation is solved, and what reproduces the image is stored
    in one map per step. `noise_std` is their standard deviation, 1 for what a sampler would draw.
    """

    model: str
    method: str
    sampler: str
    num_steps: int
    guidance_scale: float
    batch_size: int
    forward: float
    evaluations_per_step: float
    psnr: float
    psnr_p10: float
    gap: float
    latent_error: float
    z_mean: float
    z_std: float
    z_autocorrelation: float
    noise_std: float
    seconds_per_image: float
    seconds_min: float
    seconds_max: float


def measure_section(
    model: LatentDiffusion,
    images: Float[Tensor, "N 3 H W"],
    prompts: Sequence[str],
    seeds: Sequence[int],
    section: InversionSection,
    batch_size: int,
) -> dict[str, list[dict[str, Any]]]:
    """Return the report's `rows`, and its `noise_maps` if the section asks for them.

    Args:
        seeds: one per image, of the noise of samplers that add some.

    Raises:
        ConfigError: for what the model cannot do, before anything is measured.
    """
    rows: list[dict[str, Any]] = []
    maps: list[dict[str, Any]] = []
    guidance = section.guidance_scale
    for schedule in _schedules(model, section, size_of(images)):
        pool = Pool(model, images, prompts, schedule, guidance_scale=guidance, batch_size=batch_size, seeds=seeds)
        for match_noise in section.match_noise if schedule.is_stochastic else (True,):
            found = measure_inversion(pool, section.methods, match_noise=match_noise, repeats=section.repeats)
            rows += [row.as_dict() for row in found]
        if section.noise_maps and schedule.is_stochastic:
            maps.append(asdict(measure_noise_maps(pool, repeats=section.repeats)))
    return {"rows": rows, "noise_maps": maps} if section.noise_maps else {"rows": rows}


def _schedules(model: LatentDiffusion, section: InversionSection, image_size: ImageSize) -> list[Schedule]:
    """Return every schedule of the section; raise ConfigError for those that the model cannot run."""
    found, problems = [], []
    for sampler in section.samplers:
        for num_steps in section.num_steps:
            try:
                found.append(model.schedule(num_steps, sampler, image_size=image_size).last_part(1.0))
            except ValueError as error:
                problems.append(f"samplers {sampler!r}, num_steps {num_steps}: {error}")
    if section.noise_maps and not problems and not any(schedule.is_stochastic for schedule in found):
        problems.append(
            f"noise_maps: none of the samplers ({', '.join(section.samplers)}) adds noise in its steps, so there are "
            "no noise maps; add one that does, such as euler_ancestral, or leave noise_maps out"
        )
    if problems:
        raise ConfigError("the section `inversion`", problems)
    return found


def measure_noise_maps(pool: Pool, *, repeats: int = 1) -> NoiseMapRow:
    """Measure edit-friendly noise maps (Huberman-Spiegelglas et al. 2024) on a pool whose sampler adds noise."""
    calls = 0

    def counted(denoiser: Denoiser) -> Denoiser:
        def predict(*arguments: Tensor) -> Tensor:
            nonlocal calls
            calls += denoiser.evaluations * len(arguments[0])
            return denoiser.predict(*arguments)

        return Denoiser(predict, denoiser.conditions, denoiser.evaluations)

    spent: list[float] = []
    for _ in range(repeats):
        calls, found = 0, []
        began = now(pool.model.device)
        for batch in pool.batches:
            assert batch.noise is not None
            found.append(edit_friendly(counted(batch.denoiser), batch.latents, pool.schedule, batch.noise))
        spent.append((now(pool.model.device) - began) / len(pool))
    quality, error = pool.reconstruct([start for start, _ in found], [maps for _, maps in found])
    # The last step adds nothing: its map is zero.
    stored = torch.cat([m for _, maps in found for m, step in zip(maps, pool.schedule.steps, strict=True) if step.c])
    return NoiseMapRow(
        model=model_label(pool.model),
        method="edit_friendly",
        sampler=pool.schedule.name,
        num_steps=len(pool.schedule),
        guidance_scale=pool.guidance_scale,
        batch_size=len(pool.batches[0].latents),
        forward=calls / len(pool),
        evaluations_per_step=calls / len(pool) / len(pool.schedule),
        psnr=float(quality.mean()),
        psnr_p10=float(quality.quantile(0.1)),
        gap=pool.bound - float(quality.mean()),
        latent_error=float(error.mean()),
        **noise_figures(torch.cat([start for start, _ in found])),
        noise_std=float(stored.std()),
        seconds_per_image=statistics.median(spent),
        seconds_min=min(spent),
        seconds_max=max(spent),
    )
