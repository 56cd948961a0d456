"""Inversion: walk a schedule from image to noise, solving one implicit equation per step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from augment.diffusion.denoiser import Denoiser
from augment.diffusion.noise import matched_noise
from augment.diffusion.sampler import check_noise
from augment.diffusion.schedule import Schedule
from augment.inversion.equation import StepEquation
from augment.inversion.settings import Stop, WarmStart
from augment.inversion.solver import Solution, Solver, solve
from augment.inversion.warm_start import Prediction, first_guess


@dataclass(frozen=True)
class Inversion:
    """The noise that regenerates the given latents, and what finding it took.

    Attributes:
        latents: at the start of the schedule, float32 [B, C, H, W].
        residual: root mean square of z - f(z) per inverted step, latents' units, [S, B], in the order of inversion.
        error: what that makes the step miss when it is sampled, |a| residual / sqrt(s'), [S, B]; `Stop.tolerance` was
            compared with it.
        iterations, forward, jvp, vjp: per sample, totals over the steps, int64 [B]. With guidance one call of the
            network is two evaluations of a sample.
        status: the worst `Status` over the steps, int64 [B].
        calls: passes through the network one after another, forward or derivative, whatever their size: what the batch
            waits for.
        rows: latents that went through the network, summed over the calls: what the batch costs. Finished samples leave
            the batch, so it is less than `calls` times the batch (times two with guidance) where samples differ.
        num_steps: S.
        noise: what the sampler has to add in each step, in sampling order; None for samplers that add none.
        trajectory: the latents at the end of each step, in sampling order, of which the last are the given ones, as
            inversion solved them; S x B x C x H x W numbers on the latents' device. None if they were not asked for.
    """

    latents: Float[Tensor, "B C H W"]
    residual: Float[Tensor, "S B"]
    error: Float[Tensor, "S B"]
    iterations: Int[Tensor, " B"]
    forward: Int[Tensor, " B"]
    jvp: Int[Tensor, " B"]
    vjp: Int[Tensor, " B"]
    status: Int[Tensor, " B"]
    calls: int
    rows: int
    num_steps: int
    noise: list[Tensor] | None = None
    trajectory: list[Tensor] | None = None

    @property
    def evaluations(self) -> Int[Tensor, " B"]:
        """Return each sample's network evaluations, a Jacobian-vector or vector-Jacobian product being one more."""
        return self.forward + self.jvp + self.vjp

    @property
    def evaluations_per_step(self) -> Float[Tensor, " B"]:
        """Return each sample's mean evaluations per inverted step, a derivative being one more: float32 [B]."""
        return self.evaluations.float() / self.num_steps


def invert(
    eps_fn: Denoiser,
    latents: Float[Tensor, "B C H W"],
    schedule: Schedule,
    solver: Solver,
    stop: Stop,
    *,
    warm_start: WarmStart = "extrapolated",
    noise: Sequence[Tensor] | None = None,
    match_noise: bool = True,
    trajectory_dtype: torch.dtype | None = None,
    callback: Callable[[int, Solution], None] | None = None,
) -> Inversion:
    """Find the latents from which `sample(eps_fn, ..., schedule, noise=inversion.noise)` leads to the given ones.

    Args:
        eps_fn: the denoiser with the source prompt.
        latents: at the end of the schedule, for example an encoded image.
        schedule: the sampler's steps; `schedule.last_part(strength)` to stop part of the way.
        solver: the method.
        stop: its iteration limits and tolerance.
        warm_start: the first guess at each step, which costs nothing; published methods start from z', `none`.
        noise: for samplers that add noise: one standard normal tensor per step, in sampling order.
        match_noise: whether the step's noise is drawn given the latents it leads to (`matched_noise`), from `noise`, or
            is `noise` itself.
        trajectory_dtype: in which to keep the latents between the steps; None keeps none.
        callback: called with (inverted step, its solution) after each step.

    Raises:
        ValueError: if the sampler adds noise and none is given, or not one tensor per step.
    """
    check_noise(schedule, noise)
    noises = noise if schedule.is_stochastic and noise is not None else [None] * len(schedule)
    clean = z = latents.float()
    stored: list[Tensor] = []
    trajectory: list[Tensor] = []
    earlier: list[Prediction] = []
    solutions: list[Solution] = []
    for step, drawn in zip(reversed(schedule.steps), reversed(noises), strict=True):
        n = matched_noise(step, z, clean, drawn) if match_noise and drawn is not None else drawn
        if n is not None:
            stored.insert(0, n)
        if trajectory_dtype is not None:
            trajectory.insert(0, z.to(trajectory_dtype))
        eq = StepEquation(eps_fn, step, z, n, clean)
        guess = first_guess(eq, warm_start, earlier, sigma_scaled=solver.sigma_scaled)
        solution = solve(eq, solver, guess, stop.limit(is_first=not solutions), stop.tolerance)
        z = solution.z
        earlier = [*earlier[-1:], Prediction(step.start.log_snr, solution.eps)]  # two are enough for a line
        solutions.append(solution)
        if callback is not None:
            callback(len(solutions) - 1, solution)
    return _summary(solutions, stored, trajectory)


def _summary(solutions: Sequence[Solution], noise: list[Tensor], trajectory: list[Tensor]) -> Inversion:
    def stacked(name: str) -> Tensor:
        return torch.stack([getattr(s, name) for s in solutions])

    return Inversion(
        latents=solutions[-1].z,
        residual=stacked("residual"),
        error=stacked("error"),
        iterations=stacked("iterations").sum(dim=0),
        forward=stacked("forward").sum(dim=0),
        jvp=stacked("jvp").sum(dim=0),
        vjp=stacked("vjp").sum(dim=0),
        status=stacked("status").amax(dim=0),
        calls=sum(s.calls for s in solutions),
        rows=sum(s.rows for s in solutions),
        num_steps=len(solutions),
        noise=noise or None,
        trajectory=trajectory or None,
    )
