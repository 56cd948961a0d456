"""Inversion: walk a schedule from image to noise, solving one implicit equation per step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from augment.diffusion.denoiser import Denoiser
from augment.diffusion.schedule import Schedule
from augment.inversion.equation import StepEquation
from augment.inversion.solver import Solution, Solver, Stop, solve


@dataclass(frozen=True)
class Inversion:
    """The noise that regenerates the given latents, and what finding it took.

    Attributes:
        latents: at the start of the schedule, float32 [B, C, H, W].
        residual: root mean square of z - f(z) per inverted step, [S, B], in the order of inversion.
        iterations, forward, jvp, vjp: totals over the steps, int64 [B].
        status: the worst `Status` over the steps, int64 [B].
        num_steps: S.
    """

    latents: Float[Tensor, "B C H W"]
    residual: Float[Tensor, "S B"]
    iterations: Int[Tensor, " B"]
    forward: Int[Tensor, " B"]
    jvp: Int[Tensor, " B"]
    vjp: Int[Tensor, " B"]
    status: Int[Tensor, " B"]
    num_steps: int

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
    callback: Callable[[int, Solution], None] | None = None,
) -> Inversion:
    """Find the latents from which `sample(eps_fn, ..., schedule)` leads to the given ones.

    Args:
        eps_fn: the denoiser with the source prompt.
        latents: at the end of the schedule, for example an encoded image.
        schedule: the sampler's steps; `schedule.last_part(strength)` to stop part of the way.
        solver: the method.
        stop: its iteration limits and tolerance.
        noise: for samplers that add noise, what they add: one tensor per step, in sampling order.
        callback: called with (inverted step, its solution) after each step.
    """
    z = latents.float()
    eps_previous: Tensor | None = None
    solutions: list[Solution] = []
    for i in reversed(range(len(schedule))):
        eq = StepEquation(eps_fn, schedule.steps[i], z, None if noise is None else noise[i])
        limit = stop.limit(is_first=not solutions)
        solution = solve(eq, solver, solver.start(eq, eps_previous), limit, stop.tolerance)
        z, eps_previous = solution.z, solution.eps
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
    )
