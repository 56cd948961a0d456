"""Measure inversion methods against each other on the same images, beside the autoencoder's bound."""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Annotated, Any

import torch
from jaxtyping import Float
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from torch import Tensor

from augment.diffusion import (
    Denoiser,
    Schedule,
    sample,
    step_noise,
)
from augment.editing.config import StopConfig, checked_solver
from augment.editing.edits import round_trip_psnr
from augment.evaluation.memory import peak_bytes
from augment.inversion import (
    Inversion,
    Status,
    Stop,
    invert,
    make_solver,
)
from augment.models.interface import LatentDiffusion
from augment.scoring import autocorrelation, psnr
from augment.tiny.packaged import STUDENT, TEACHER


class InversionMethod(BaseModel):
    """One row of the inversion table: a solver with its iteration limits."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    solver: Annotated[dict[str, Any], AfterValidator(checked_solver)] = Field(description="`name`, and settings")
    stop: StopConfig = Field(default=StopConfig(max_steps=2), description="iteration limits")

    @property
    def settings(self) -> dict[str, Any]:
        """The solver's settings that are not left at their defaults."""
        return {k: v for k, v in self.solver.items() if k != "name"}

    def invert(self, batch: Batch, schedule: Schedule, *, match_noise: bool = True) -> Inversion:
        solver, stop = make_solver(**self.solver), Stop(**self.stop.model_dump())
        return invert(batch.denoiser, batch.latents, schedule, solver, stop, noise=batch.noise, match_noise=match_noise)


@dataclass(frozen=True)
class InversionRow:
    """What one method did on one schedule; dB, root mean squares in the latents' units, seconds, network evaluations.

    Attributes:
        model: `teacher`, `student`, or a model's id.
        settings: of the solver, those that are not its defaults.
        stop: the iteration limits.
        match_noise: whether the sampler's noise was drawn given the image; None for samplers that add none.
        batch_size: images inverted together, of which `peak_bytes` is the memory.
        forward, jvp, vjp: evaluations, Jacobian-vector and vector-Jacobian products, mean per image.
        evaluations_per_step: their sum over the number of steps.
        psnr_p10: the tenth percentile over images.
        gap: what the mean PSNR is below the autoencoder's own.
        latent_error: |z - z'| / |z| of the latents before and after: an autoencoder that forgives small errors hides
            them from the PSNR.
        residual: the largest over the steps, averaged over the images for which it is finite.
        z_mean, z_std, z_autocorrelation: of the inverted noise, 0, 1 and 0 if it looks like noise.
        seconds_per_image, seconds_min, seconds_max: of the inversion alone, over the repeats; the first is the median.
        peak_bytes: of one inverted batch, beyond what was there before; see `augment.evaluation.memory`.
        statuses: number of images by the name of their worst status.
    """

    model: str
    solver: str
    settings: dict[str, Any]
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
    psnr: float
    psnr_p10: float
    gap: float
    latent_error: float
    residual: float
    z_mean: float
    z_std: float
    z_autocorrelation: float
    seconds_per_image: float
    seconds_min: float
    seconds_max: float
    peak_bytes: int
    statuses: dict[str, int]

    def as_dict(self) -> dict[str, Any]:
        """For the report: the limits are fields like the others."""
        row = asdict(self)
        return {**row.pop("stop"), **row}


@dataclass(frozen=True)
class Batch:
    """Images that are inverted together: the network under their prompts, their latents, and noise for each step."""

    denoiser: Denoiser
    latents: Float[Tensor, "B C H W"]
    noise: list[Tensor] | None


class Pool:
    """Images in latent space on one schedule: what every method of a table starts from.

    Args:
        seeds: one per image, of the noise of samplers that add some; the others need none.
    """

    def __init__(
        self,
        model: LatentDiffusion,
        images: Float[Tensor, "N 3 H W"],
        prompts: Sequence[str],
        schedule: Schedule,
        *,
        guidance_scale: float = 1.0,
        batch_size: int = 16,
        seeds: Sequence[int] = (),
    ) -> None:
        self.model = model
        self.schedule = schedule
        self._images = images.cpu()
        self._latents = torch.cat([model.encode(x) for x in images.split(batch_size)])
        self.bound = float(round_trip_psnr(model, images).mean())
        noise = step_noise(schedule, self._latents, seeds)
        embeds = model.embed(prompts)
        parts = [slice(i, i + batch_size) for i in range(0, len(images), batch_size)]
        self.batches = [
            Batch(
                model.denoiser(embeds.select(part), guidance_scale),
                self._latents[part],
                None if noise is None else [n[part] for n in noise],
            )
            for part in parts
        ]

    def __len__(self) -> int:
        return len(self._images)

    @torch.no_grad()
    def reconstruct(self, starts: Sequence[Tensor], noises: Sequence[list[Tensor] | None]) -> tuple[Tensor, Tensor]:
        """Sample back what was found for each batch.

        Args:
            starts: latents at the start of the schedule.
            noises: what the sampler adds in each step.

        Returns:
            (PSNR in dB, relative error of the latents), per image.
        """
        ended = [
            sample(batch.denoiser, start, self.schedule, noise=noise)
            for batch, start, noise in zip(self.batches, starts, noises, strict=True)
        ]
        decoded = torch.cat([self.model.decode(z).cpu() for z in ended])
        error = (torch.cat(ended) - self._latents).flatten(1).norm(dim=1) / self._latents.flatten(1).norm(dim=1)
        return psnr(decoded, self._images), error.cpu()


def measure_inversion(
    model: LatentDiffusion,
    images: Float[Tensor, "B 3 H W"],
    prompts: Sequence[str],
    methods: Sequence[InversionMethod],
    *,
    num_steps: int,
    sampler: str = "ddim",
    match_noise: bool = True,
    guidance_scale: float = 1.0,
    batch_size: int = 16,
    repeats: int = 1,
    seeds: Sequence[int] = (),
) -> list[InversionRow]:
    """Invert and sample back with every method, all in turn; the first batch is timed, `repeats` times in all.

    Encoding and sampling back are not part of the seconds.

    Args:
        match_noise: see `augment.diffusion.matched_noise`; of no account with a sampler that adds no noise.
        seeds: one per image, of the noise of samplers that add some; the others need none.
    """
    schedule = model.schedule(num_steps, sampler)
    pool = Pool(model, images, prompts, schedule, guidance_scale=guidance_scale, batch_size=batch_size, seeds=seeds)
    # Untimed: the first call of a process pays for kernel selection and memory, with derivatives for theirs too.
    for method in methods:
        method.invert(pool.batches[0], schedule.last_part(1e-9), match_noise=match_noise)
    seconds: list[list[float]] = [[] for _ in methods]
    inversions: list[list[Inversion]] = [[] for _ in methods]
    for repeat in range(repeats):
        for method, spent, found in zip(methods, seconds, inversions, strict=True):
            began = now(model.device)
            first = method.invert(pool.batches[0], schedule, match_noise=match_noise)
            spent.append((now(model.device) - began) / len(pool.batches[0].latents))
            if repeat == 0:
                rest = [method.invert(batch, schedule, match_noise=match_noise) for batch in pool.batches[1:]]
                found += [first, *rest]
    rows = []
    for method, spent, found in zip(methods, seconds, inversions, strict=True):
        quality, error = pool.reconstruct([i.latents for i in found], [i.noise for i in found])
        forward, jvp, vjp = (
            float(torch.cat([getattr(i, name) for i in found]).float().mean()) for name in ("forward", "jvp", "vjp")
        )
        statuses = Counter(Status(s).name.lower() for i in found for s in i.status.tolist())
        once_more = partial(method.invert, pool.batches[0], schedule, match_noise=match_noise)
        rows.append(
            InversionRow(
                model=model_label(model),
                solver=method.solver["name"],
                settings=method.settings,
                stop=method.stop.model_dump(),
                sampler=sampler,
                match_noise=match_noise if schedule.is_stochastic else None,
                num_steps=num_steps,
                guidance_scale=guidance_scale,
                batch_size=len(pool.batches[0].latents),
                forward=forward,
                jvp=jvp,
                vjp=vjp,
                evaluations_per_step=(forward + jvp + vjp) / num_steps,
                psnr=float(quality.mean()),
                psnr_p10=float(quality.quantile(0.1)),
                gap=pool.bound - float(quality.mean()),
                latent_error=float(error.mean()),
                residual=finite_mean(torch.cat([i.residual.amax(dim=0) for i in found])),
                **noise_figures(torch.cat([i.latents for i in found])),
                seconds_per_image=statistics.median(spent),
                seconds_min=min(spent),
                seconds_max=max(spent),
                peak_bytes=peak_bytes(once_more, model.device),
                statuses={status.name.lower(): statuses[status.name.lower()] for status in Status},
            )
        )
    return rows


def noise_figures(latents: Float[Tensor, "N C H W"]) -> dict[str, float]:
    """What tells inverted latents from noise: mean and standard deviation of all elements, neighbours' correlation."""
    return {
        "z_mean": float(latents.mean()),
        "z_std": float(latents.std()),
        "z_autocorrelation": float(autocorrelation(latents).mean()),
    }


def finite_mean(values: Float[Tensor, " N"]) -> float:
    """Mean of what is finite, 0 if nothing is: `statuses` counts the images that were lost; JSON has no infinity."""
    finite = values[torch.isfinite(values)]
    return float(finite.mean()) if len(finite) else 0.0


def model_label(model: LatentDiffusion) -> str:
    """What a row calls the model: `teacher` and `student` are the embedded ones."""
    return {TEACHER: "teacher", STUDENT: "student"}.get(model.model_id, model.model_id)


def now(device: torch.device) -> float:
    """Seconds on a clock, once the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
