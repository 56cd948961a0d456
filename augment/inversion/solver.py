"""One loop for every solver: iteration limits, per-sample stops, best iterate, non-finite values, evaluation counts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from enum import IntEnum
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from augment.inversion.equation import StepEquation


class Status(IntEnum):
    """How a sample's equation ended."""

    CONVERGED = 0  # the residual fell below the tolerance
    MAX_STEPS = 1  # the evaluations ran out first: normal when the tolerance is 0
    DIVERGED = 2  # the last residual is more than twice the first; the best iterate was kept
    NON_FINITE = 3  # the network or the update gave NaN or infinity; the best iterate was kept


@dataclass(frozen=True)
class Stop:
    """When to stop iterating on one equation.

    Attributes:
        max_steps: iterations of the solver per inverted step.
        first_max_steps: the same for the first inverted step, the singular one (the last that sampling takes, where
            the step's noise ends at zero); 0 means the same as `max_steps`.
        tolerance: root mean square of z - f(z) at which a sample is finished; its last evaluation is used, not wasted.
    """

    max_steps: int = 2
    first_max_steps: int = 0
    tolerance: float = 0.0

    def __post_init__(self) -> None:
        if self.max_steps < 1:
            raise ValueError(f"max_steps must be at least 1, got {self.max_steps}")
        if self.first_max_steps < 0:
            raise ValueError(f"first_max_steps must not be negative, got {self.first_max_steps}")
        if self.tolerance < 0:
            raise ValueError(f"tolerance must not be negative, got {self.tolerance}")

    def limit(self, is_first: bool) -> int:
        return self.first_max_steps if is_first and self.first_max_steps else self.max_steps


@dataclass(frozen=True)
class State:
    """What a solver remembers between iterations: tensors whose first dimension is the batch."""

    def select(self, index: Tensor) -> State:
        return replace(self, **{f.name: getattr(self, f.name)[index] for f in fields(self)})


@dataclass(frozen=True)
class Iteration:
    """What one iteration found at z.

    Attributes:
        z: the next iterate.
        answer: the solution to return if this iteration turns out to be the best: z itself, or f of the old iterate.
        eps: the network's prediction at the old iterate; the next step's warm start reads it.
        residual: root mean square of z - f(z) at the old iterate, [B]; at the best one for methods that go back to it.
        merit: what "best" means for this solver, [B], the least being the best; the residual for most.
    """

    z: Tensor
    answer: Tensor
    eps: Tensor
    residual: Tensor
    merit: Tensor


@dataclass(frozen=True)
class Prediction:
    """What the network answered where an inverted step ended: eps [B, C, H, W], and the noise level there."""

    log_snr: float
    eps: Tensor


class Solver(ABC):
    """A method for z = f(z). Subclasses are frozen dataclasses whose fields are the hyperparameters.

    `single_iteration` marks a method that is over after one iteration, whatever `Stop` allows.
    """

    single_iteration: ClassVar[bool] = False

    def start(self, eq: StepEquation, earlier: Sequence[Prediction] = ()) -> Float[Tensor, "B C H W"]:
        """The first iterate: z' unless the method knows better.

        Args:
            earlier: the predictions that the inverted steps before this one ended with, the newest last.
        """
        return eq.after

    @abstractmethod
    def init(self, eq: StepEquation, z: Float[Tensor, "B C H W"]) -> State:
        """The memory before the first iteration."""

    @abstractmethod
    def step(self, eq: StepEquation, z: Float[Tensor, "B C H W"], state: State) -> tuple[Iteration, State]:
        """One iteration at z."""


@dataclass(frozen=True)
class Solution:
    """Result of `solve`; every field is per sample.

    `residual` belongs to the evaluated iterate that `z` was computed from: knowing z's own costs one more evaluation.
    """

    z: Float[Tensor, "B C H W"]
    eps: Float[Tensor, "B C H W"]
    residual: Float[Tensor, " B"]
    iterations: Int[Tensor, " B"]
    forward: Int[Tensor, " B"]
    jvp: Int[Tensor, " B"]
    vjp: Int[Tensor, " B"]
    status: Int[Tensor, " B"]


def solve(eq: StepEquation, solver: Solver, z0: Float[Tensor, "B C H W"], max_steps: int, tolerance: float) -> Solution:
    """Iterate `solver` on z = f(z), each sample until its own end.

    A finished sample leaves the batch, so it costs no further evaluations, and no sample's result depends on another.
    """
    size, device = len(z0), z0.device

    def integers(value: int) -> Tensor:
        return torch.full((size,), value, dtype=torch.int64, device=device)

    best = {"z": z0.clone(), "eps": torch.zeros_like(z0)}
    merit = torch.full((size,), torch.inf, device=device)
    residual, first = merit.clone(), merit.clone()
    iterations, forward, jvp, vjp = integers(0), integers(0), integers(0), integers(0)
    status = integers(Status.MAX_STEPS)
    active = torch.arange(size, device=device)
    z, state, part = z0, solver.init(eq, z0), eq
    max_steps = 1 if solver.single_iteration else max_steps
    for k in range(max_steps):
        done_forward, done_jvp, done_vjp = part.forward, part.jvp, part.vjp
        found, state = solver.step(part, z, state)
        iterations[active] += 1
        forward[active] += part.forward - done_forward
        jvp[active] += part.jvp - done_jvp
        vjp[active] += part.vjp - done_vjp
        if k == 0:
            first[active] = found.residual
        finite = torch.isfinite(found.answer).all(dim=(1, 2, 3)) & torch.isfinite(found.residual)
        converged = finite & (found.residual <= tolerance)
        better = finite & ((found.merit < merit[active]) | converged)
        improved = active[better]
        merit[improved], residual[improved] = found.merit[better], found.residual[better]
        best["z"][improved], best["eps"][improved] = found.answer[better], found.eps[better]
        status[active[converged]] = Status.CONVERGED
        status[active[~finite]] = Status.NON_FINITE
        if k == max_steps - 1:
            grown = finite & ~converged & (found.residual > 2.0 * first[active])
            status[active[grown]] = Status.DIVERGED
            break
        continues = torch.isfinite(found.z).all(dim=(1, 2, 3)) & finite
        status[active[~continues & ~converged]] = Status.NON_FINITE
        keep = (continues & ~converged).nonzero().flatten()
        if len(keep) == 0:
            break
        z = found.z
        if len(keep) < len(active):
            active, z, state, part = active[keep], z[keep], state.select(keep), part.select(keep)
    return Solution(best["z"], best["eps"], residual, iterations, forward, jvp, vjp, status)


def hyperparameters(solver: Solver) -> dict[str, Any]:
    """The solver's fields, for records and reports."""
    return {f.name: getattr(solver, f.name) for f in fields(solver)}  # type: ignore[arg-type]
