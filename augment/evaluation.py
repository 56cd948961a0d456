"""Measure inversion methods against each other on the same images, beside the autoencoder's bound."""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from jaxtyping import Float
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from torch import Tensor

from augment.diffusion import Schedule, sample
from augment.edit_config import StopConfig, checked_solver
from augment.inversion import Inversion, Status, Stop, invert, make_solver
from augment.metrics import psnr
from augment.models.interface import LatentDiffusion, PromptEmbeds


class InversionMethod(BaseModel):
    """One row of the inversion table: a solver with its iteration limits."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    solver: Annotated[dict[str, Any], AfterValidator(checked_solver)] = Field(description="`name`, and settings")
    stop: StopConfig = Field(default=StopConfig(max_steps=2), description="iteration limits")


@dataclass(frozen=True)
class InversionRow:
    """What one method did on one schedule; dB, root mean squares in the latents' units, seconds, network evaluations.

    `latent_error` is |z - z'| / |z| of the latents before and after: an autoencoder that forgives small errors hides
    them from the PSNR. `psnr_p10` is the tenth percentile over images; `z_std` the standard deviation of the inverted
    noise, 1 if it looks like noise; `residual` the largest over the steps, averaged over images; `statuses` counts
    images.
    """

    solver: str
    settings: dict[str, Any]
    sampler: str
    num_steps: int
    max_steps: int
    first_max_steps: int
    guidance_scale: float
    forward: float
    vjp: float
    evaluations_per_step: float
    psnr: float
    psnr_p10: float
    gap: float
    latent_error: float
    residual: float
    z_std: float
    seconds_per_image: float
    statuses: dict[str, int]


@torch.no_grad()
def round_trip_psnr(
    model: LatentDiffusion, images: Float[Tensor, "B 3 H W"], batch_size: int = 64
) -> Float[Tensor, " B"]:
    """PSNR of the autoencoder alone, per image: what no inversion can exceed."""
    return torch.cat([psnr(model.decode(model.encode(x)).cpu(), x.cpu()) for x in images.split(batch_size)])


def measure_inversion(
    model: LatentDiffusion,
    images: Float[Tensor, "B 3 H W"],
    prompts: Sequence[str],
    methods: Sequence[InversionMethod],
    *,
    num_steps: int,
    sampler: str = "ddim",
    guidance_scale: float = 1.0,
    batch_size: int = 16,
    repeats: int = 1,
) -> list[InversionRow]:
    """Invert and sample back with every method, in turn, `repeats` times; seconds are medians over the repeats.

    Encoding and sampling back are not part of the seconds.
    """
    schedule = model.schedule(num_steps, sampler)
    bound = float(round_trip_psnr(model, images).mean())
    latents = torch.cat([model.encode(x) for x in images.split(batch_size)])
    embeds = model.embed(prompts)
    seconds: list[list[float]] = [[] for _ in methods]
    quality: list[_Quality] = []
    # Untimed: the first call of a process pays for kernel selection and memory.
    first = model.denoiser(embeds.select(slice(batch_size)), guidance_scale)
    invert(first, latents[:batch_size], schedule.last_part(1e-9), make_solver("ddim"), Stop(1))
    for repeat in range(repeats):
        for m, method in enumerate(methods):
            solver, stop = make_solver(**method.solver), Stop(**method.stop.model_dump())
            inversions, spent = [], 0.0
            for z, e in zip(latents.split(batch_size), embeds.split(batch_size), strict=True):
                denoiser = model.denoiser(e, guidance_scale)
                began = _now(model)
                inversions.append(invert(denoiser, z, schedule, solver, stop))
                spent += _now(model) - began
            seconds[m].append(spent / len(images))
            if repeat == 0:
                ended, error = _sampled_back(model, latents, embeds, inversions, schedule, guidance_scale)
                decoded = torch.cat([model.decode(z).cpu() for z in ended.split(batch_size)])
                quality.append(_Quality(psnr(decoded, images.cpu()), error, inversions))
    return [
        _row(method, sampler, num_steps, guidance_scale, bound, found, statistics.median(spent))
        for method, found, spent in zip(methods, quality, seconds, strict=True)
    ]


@dataclass(frozen=True)
class _Quality:
    """What one method's inversions are worth: PSNR [N], relative error of the latents [N]."""

    psnr: Tensor
    latent_error: Tensor
    inversions: list[Inversion]


def _now(model: LatentDiffusion) -> float:
    if model.device.type == "cuda":
        torch.cuda.synchronize(model.device)
    return time.perf_counter()


def _sampled_back(
    model: LatentDiffusion,
    latents: Tensor,
    embeds: PromptEmbeds,
    inversions: list[Inversion],
    schedule: Schedule,
    scale: float,
) -> tuple[Tensor, Tensor]:
    """(latents that sampling back ends in, their relative error per image [N])."""
    size = len(inversions[0].latents)
    ended = torch.cat(
        [
            sample(model.denoiser(e, scale), inversion.latents, schedule)
            for inversion, e in zip(inversions, embeds.split(size), strict=True)
        ]
    )
    return ended, (ended - latents).flatten(1).norm(dim=1) / latents.flatten(1).norm(dim=1)


def _row(
    method: InversionMethod,
    sampler: str,
    num_steps: int,
    guidance_scale: float,
    bound: float,
    found: _Quality,
    seconds: float,
) -> InversionRow:
    inversions, values = found.inversions, found.psnr
    forward = float(torch.cat([i.forward for i in inversions]).float().mean())
    vjp = float(torch.cat([i.vjp for i in inversions]).float().mean())
    statuses = Counter(Status(s).name.lower() for i in inversions for s in i.status.tolist())
    settings = {k: v for k, v in method.solver.items() if k != "name"}
    return InversionRow(
        solver=method.solver["name"],
        settings=settings,
        sampler=sampler,
        num_steps=num_steps,
        max_steps=method.stop.max_steps,
        first_max_steps=method.stop.first_max_steps,
        guidance_scale=guidance_scale,
        forward=forward,
        vjp=vjp,
        evaluations_per_step=(forward + vjp) / num_steps,
        psnr=float(values.mean()),
        psnr_p10=float(values.quantile(0.1)),
        gap=bound - float(values.mean()),
        latent_error=float(found.latent_error.mean()),
        residual=float(torch.cat([i.residual.amax(dim=0) for i in inversions]).mean()),
        z_std=float(torch.cat([i.latents for i in inversions]).std()),
        seconds_per_image=seconds,
        statuses=dict(statuses),
    )
