"""What is compared, and on what: an inversion method, and images in latent space that every method starts from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from augment.diffusion import Denoiser, Schedule, sample, step_noise
from augment.editing.edits import round_trip_psnr
from augment.inversion import Inversion, invert, make_solver
from augment.inversion.settings import SolverSettings, Stop, WarmStart
from augment.models.interface import LatentDiffusion
from augment.scoring import psnr


@dataclass(frozen=True)
class Batch:
    """Images that are inverted together: the network under their prompts, their latents, and noise for each step."""

    denoiser: Denoiser
    latents: Float[Tensor, "B C H W"]
    noise: list[Tensor] | None


class InversionMethod(BaseModel):
    """One row of the inversion table: a solver, its first guess and its iteration limits."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    solver: SolverSettings = Field(description="`name`, and settings")
    warm_start: WarmStart = Field(default="extrapolated", description="first guess at each inverted step")
    stop: Stop = Field(default=Stop(), description="iteration limits and tolerance")

    @property
    def settings(self) -> dict[str, Any]:
        """Return the solver's settings that are not left at their defaults."""
        return self.solver.model_dump(exclude_defaults=True)

    def invert(self, batch: Batch, schedule: Schedule, *, match_noise: bool = True) -> Inversion:
        """Invert a batch with this row's method."""
        return invert(
            batch.denoiser,
            batch.latents,
            schedule,
            make_solver(**self.solver.model_dump()),
            self.stop,
            warm_start=self.warm_start,
            noise=batch.noise,
            match_noise=match_noise,
        )


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
        self.guidance_scale = guidance_scale
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
