"""Measure inversion methods against each other on the same images, beside the autoencoder's bound."""

from __future__ import annotations

import math
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from augment.evaluation.memory import peak_bytes
from augment.evaluation.pool import InversionMethod, Pool
from augment.inversion import Inversion, Status
from augment.models.interface import LatentDiffusion
from augment.scoring import autocorrelation
from augment.tiny.packaged import STUDENT, TEACHER


@dataclass(frozen=True)
class InversionRow:
    """What one method did on one schedule; dB, root mean squares in the latents' units, seconds, network evaluations.

    Attributes:
        model: `teacher`, `student`, or a model's id.
        settings: the solver's settings that are not its defaults.
        stop: the iteration limits.
        match_noise: whether the sampler's noise was drawn given the image; None for samplers that add none.
        batch_size: images inverted together, of which `peak_bytes` is the memory.
        forward, jvp, vjp: evaluations, Jacobian-vector and vector-Jacobian products, mean per image.
        evaluations_per_step: their sum divided by the number of steps.
        calls: passes of a batch through the network one after another, mean over the batches: the latency.
        rows: latents that went through the network, summed over a batch's calls, mean over the batches.
        psnr_p10: the tenth percentile over images.
        gap: the autoencoder's own mean PSNR less this one, dB.
        latent_error: |z - z'| / |z| of the latents before and after: an autoencoder that forgives small errors hides
            them from the PSNR.
        residual: root mean square of z - f(z), the largest over the steps, mean over the images; NaN if one was lost.
        error: the same for the quantity that the tolerance is compared with; see `StepEquation.error`.
        z_mean, z_std, z_autocorrelation: figures of the inverted latents: 0, 1 and 0 if they look like noise.
        seconds_per_image, seconds_min, seconds_max: median and range over the repeats, for the inversion alone.
        peak_bytes: memory of inverting one batch, beyond what was there before; see `augment.evaluation.memory`.
        statuses: number of images by the name of their worst status.
        lost: number of images of which a step has no finite iterate, or whose reconstruction has a pixel that is no
            number.
    """

    model: str
    solver: str
    settings: dict[str, Any]
    warm_start: str
    stop: dict[str, Any]
    sampler: str
    match_noise: bool | None
    num_steps: int
    guidance_scale: float
    batch_size: int
    forward: float
    jvp: float
    vjp: float
    evaluations_per_step: float
    calls: float
    rows: float
    psnr: float
    psnr_p10: float
    gap: float
    latent_error: float
    residual: float
    error: float
    z_mean: float
    z_std: float
    z_autocorrelation: float
    seconds_per_image: float
    seconds_min: float
    seconds_max: float
    peak_bytes: int
    statuses: dict[str, int]
    lost: int

    def as_dict(self) -> dict[str, Any]:
        """Return the row for the report, where the limits are fields like the others."""
        row = asdict(self)
        return {**row.pop("stop"), **row}


@dataclass(frozen=True)
class _Run:
    """What one method has done so far: an inversion per batch, and the seconds per image of the first batch."""

    inversions: list[Inversion]
    seconds: list[float]


def measure_inversion(
    pool: Pool, methods: Sequence[InversionMethod], *, match_noise: bool = True, repeats: int = 1
) -> list[InversionRow]:
    """Invert and sample back with every method, all in turn; the first batch is timed, `repeats` times in all.

    Encoding and sampling back are not part of the seconds.

    Args:
        match_noise: see `augment.diffusion.matched_noise`; without effect on a schedule that adds no noise.
    """
    first, *others = pool.batches
    # Untimed: the first call of a process pays for kernel selection and memory, with derivatives for theirs too.
    last_step = pool.schedule.last_part(1e-9)
    warm_up = replace(first, noise=None if first.noise is None else first.noise[-len(last_step) :])
    for method in methods:
        method.invert(warm_up, last_step, match_noise=match_noise)
    runs = [_Run([], []) for _ in methods]
    for repeat in range(repeats):
        for method, run in zip(methods, runs, strict=True):
            began = now(pool.model.device)
            inversion = method.invert(first, pool.schedule, match_noise=match_noise)
            run.seconds.append((now(pool.model.device) - began) / len(first.latents))
            if repeat == 0:
                rest = [method.invert(batch, pool.schedule, match_noise=match_noise) for batch in others]
                run.inversions.extend([inversion, *rest])
    return [_row(pool, method, run, match_noise) for method, run in zip(methods, runs, strict=True)]


def _row(pool: Pool, method: InversionMethod, run: _Run, match_noise: bool) -> InversionRow:
    """Sample back what a method has found, and return its row of the table."""
    found, schedule = run.inversions, pool.schedule
    quality, latent_error = pool.reconstruct([i.latents for i in found], [i.noise for i in found])
    forward, jvp, vjp = (
        float(torch.cat([getattr(i, name) for i in found]).float().mean()) for name in ("forward", "jvp", "vjp")
    )
    statuses = Counter(Status(s).name.lower() for i in found for s in i.status.tolist())
    residual = torch.cat([i.residual.amax(dim=0) for i in found])
    once_more = partial(method.invert, pool.batches[0], schedule, match_noise=match_noise)
    return InversionRow(
        model=model_label(pool.model),
        solver=method.solver.name,
        settings=method.settings,
        warm_start=method.warm_start,
        stop=method.stop.model_dump(),
        sampler=schedule.name,
        match_noise=match_noise if schedule.is_stochastic else None,
        num_steps=len(schedule),
        guidance_scale=pool.guidance_scale,
        batch_size=len(pool.batches[0].latents),
        forward=forward,
        jvp=jvp,
        vjp=vjp,
        evaluations_per_step=(forward + jvp + vjp) / len(schedule),
        calls=statistics.mean(i.calls for i in found),
        rows=statistics.mean(i.rows for i in found),
        psnr=float(quality.mean()),
        psnr_p10=float(quality.quantile(0.1)),
        gap=pool.bound - float(quality.mean()),
        latent_error=float(latent_error.mean()),
        residual=mean_if_finite(residual),
        error=mean_if_finite(torch.cat([i.error.amax(dim=0) for i in found])),
        **noise_figures(torch.cat([i.latents for i in found])),
        seconds_per_image=statistics.median(run.seconds),
        seconds_min=min(run.seconds),
        seconds_max=max(run.seconds),
        peak_bytes=peak_bytes(once_more, pool.model.device),
        statuses={status.name.lower(): statuses[status.name.lower()] for status in Status},
        lost=int((~torch.isfinite(residual).cpu() | ~torch.isfinite(quality)).sum()),
    )


def noise_figures(latents: Float[Tensor, "N C H W"]) -> dict[str, float]:
    """Return what tells inverted latents from noise: mean, standard deviation and autocorrelation."""
    return {
        "z_mean": float(latents.mean()),
        "z_std": float(latents.std()),
        "z_autocorrelation": float(autocorrelation(latents).mean()),
    }


def mean_if_finite(values: Float[Tensor, " N"]) -> float:
    """Return the mean, NaN if one value is not finite: that of the others would be the better the more are lost."""
    return float(values.mean()) if bool(torch.isfinite(values).all()) else math.nan


def model_label(model: LatentDiffusion) -> str:
    """Return what a row calls the model: `teacher` and `student` are the embedded ones."""
    return {TEACHER: "teacher", STUDENT: "student"}.get(model.model_id, model.model_id)


def now(device: torch.device) -> float:
    """Return seconds on a clock, once the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
