"""Inversion: walk a schedule from image to noise, solving one implicit equation per step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from augment.diffusion.denoiser import Denoiser
from augment.diffusion.noise import matched_noise
from augment.diffusion.schedule import Schedule
from augment.inversion.equation import StepEquation
from augment.inversion.solver import Prediction, Solution, Solver, Stop, solve


@dataclass(frozen=True)
class Inversion:
    """The noise that regenerates the given latents, and what finding it took.

    Attributes:
        latents: at the start of the schedule, float32 [B, C, H, W].
        residual: root mean square of z - f(z) per inverted step, [S, B], in the order of inversion.
        iterations, forward, jvp, vjp: totals over the steps, int64 [B].
        status: the worst `Status` over the steps, int64 [B].
        num_steps: S.
        noise: what the sampler has to add in each step, in sampling order; None for samplers that add none.
    """

    latents: Float[Tensor, "B C H W"]
    residual: Float[Tensor, "S B"]
    iterations: Int[Tensor, " B"]
    forward: Int[Tensor, " B"]
    jvp: Int[Tensor, " B"]
    vjp: Int[Tensor, " B"]
    status: Int[Tensor, " B"]
    num_steps: int
    noise: list[Tensor] | None = None

    @property
    def evaluations(self) -> Int[Tensor, " B"]:
        """Network evaluations, a Jacobian-vector or vector-Jacobian product counted as one more."""
        return self.forward + self.jvp + self.vjp

    @property
    def evaluations_per_step(self) -> Float[Tensor, " B"]:
        """Mean network evaluations per step, a derivative counted as one more: float32 [B]."""
        return self.evaluations.float() / self.num_steps


def invert(
    eps_fn: Denoiser,
    latents: Float[Tensor, "B C H W"],
    schedule: Schedule,
    solver: Solver,
    stop: Stop,
    *,
    noise: Sequence[Tensor] | None = None,
    match_noise: bool = True,
    callback: Callable[[int, Solution], None] | None = None,
) -> Inversion:
    """Find the latents from which `sample(eps_fn, ..., schedule, noise=inversion.noise)` leads to the given ones.

    Args:
        eps_fn: the denoiser with the source prompt.
        latents: at the end of the schedule, for example an encoded image.
        schedule: the sampler's steps; `schedule.last_part(strength)` to stop part of the way.
        solver: the method.
        stop: its iteration limits and tolerance.
        noise: for samplers that add noise: one standard normal tensor per step, in sampling order.
        match_noise: whether the step's noise is drawn given the latents it leads to (`matched_noise`), from `noise`, or
            is `noise` itself.
        callback: called with (inverted step, its solution) after each step.

    Raises:
        ValueError: if the sampler adds noise and none is given.
    """
    if schedule.is_stochastic and noise is None:
        raise ValueError(f"sampler {schedule.name!r} adds noise in its steps: give `noise`, one tensor per step")
    clean = z = latents.float()
    stored: list[Tensor] = []
    earlier: list[Prediction] = []
    solutions: list[Solution] = []
    for i in reversed(range(len(schedule))):
        step, n = schedule.steps[i], None
        if schedule.is_stochastic and noise is not None:
            n = matched_noise(step, z, clean, noise[i]) if match_noise else noise[i]
            stored.insert(0, n)
        eq = StepEquation(eps_fn, step, z, n, log_snr=schedule.starts[i].log_snr)
        limit = stop.limit(is_first=not solutions)
        solution = solve(eq, solver, solver.start(eq, earlier), limit, stop.tolerance)
        z = solution.z
        earlier = [*earlier[-1:], Prediction(eq.log_snr, solution.eps)]  # no solver looks further back
        solutions.append(solution)
        if callback is not None:
            callback(len(solutions) - 1, solution)

    def total(name: str) -> Tensor:
        return torch.stack([getattr(s, name) for s in solutions]).sum(dim=0)

    return Inversion(
        latents=z,
        residual=torch.stack([s.residual for s in solutions]),
        iterations=total("iterations"),
        forward=total("forward"),
        jvp=total("jvp"),
        vjp=total("vjp"),
        status=torch.stack([s.status for s in solutions]).amax(dim=0),
        num_steps=len(schedule),
        noise=stored or None,
    )
