"""One loop for every solver: iteration limits, per-sample stops, best iterate, non-finite values, evaluation counts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields, replace
from enum import IntEnum
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from augment.inversion.equation import Cost, StepEquation


class Status(IntEnum):
    """How a sample's equation ended."""

    CONVERGED = 0  # the error fell to the tolerance
    MAX_STEPS = 1  # the evaluations ran out first: normal when the tolerance is 0
    DIVERGED = 2  # the last residual is more than twice the first; the best iterate was kept
    NON_FINITE = 3  # the network or the update gave NaN or infinity; the best iterate was kept


@dataclass(frozen=True)
class State:
    """What a solver remembers between iterations: tensors whose first dimension is the batch."""

    def select(self, index: Tensor) -> State:
        """Return the memory of some of the samples; `index` is int64 [n]."""
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


class Solver(ABC):
    """A method for z = f(z): a mixin for its settings, `class Method(MethodSettings, Solver)`.

    Instances are immutable; what evolves is handed from `init` through every `step`.

    Attributes:
        single_iteration: the method is over after one iteration, whatever `Stop` allows.
        sigma_scaled: the method's authors keep latents as x + sigma n, which decides what "start from z'" means.
    """

    single_iteration: ClassVar[bool] = False
    sigma_scaled: ClassVar[bool] = False

    @abstractmethod
    def init(self, eq: StepEquation, z: Float[Tensor, "B C H W"]) -> State:
        """Return the memory before the first iteration, which is at z."""

    @abstractmethod
    def step(self, eq: StepEquation, z: Float[Tensor, "B C H W"], state: State) -> tuple[Iteration, State]:
        """Return what one iteration at z finds, and the memory after it."""


@dataclass(frozen=True)
class Solution:
    """The result of `solve`. All but `calls` and `rows` is per sample.

    Attributes:
        z: the answer, float32 [B, C, H, W].
        eps: the network's prediction that goes with it, [B, C, H, W].
        residual: root mean square of z - f(z), latents' units, [B]. It belongs to the evaluated iterate that `z` was
            computed from: knowing z's own costs one more evaluation.
        error: |a| residual / sqrt(s'), [B]: what the tolerance was compared with; see `StepEquation.error`.
        iterations, forward, jvp, vjp: int64 [B]; see `Cost`.
        status: a `Status`, int64 [B].
        calls, rows: of the whole batch; see `Cost`.
    """

    z: Float[Tensor, "B C H W"]
    eps: Float[Tensor, "B C H W"]
    residual: Float[Tensor, " B"]
    error: Float[Tensor, " B"]
    iterations: Int[Tensor, " B"]
    forward: Int[Tensor, " B"]
    jvp: Int[Tensor, " B"]
    vjp: Int[Tensor, " B"]
    status: Int[Tensor, " B"]
    calls: int
    rows: int


def solve(eq: StepEquation, solver: Solver, z0: Float[Tensor, "B C H W"], max_steps: int, tolerance: float) -> Solution:
    """Iterate `solver` on z = f(z) from z0, each sample until its own end.

    A finished sample leaves the batch, so it costs no further evaluations, and no sample's result depends on another.

    Args:
        max_steps: iterations at most.
        tolerance: `eq.error(residual)` at which a sample is finished. Its last evaluation is not wasted: the answer is
            the iterate that follows.
    """
    record = _Record(z0)
    active = torch.arange(len(z0), device=z0.device)
    z, state, part = z0, solver.init(eq, z0), eq
    max_steps = 1 if solver.single_iteration else max_steps
    for k in range(max_steps):
        before = part.cost
        found, state = solver.step(part, z, state)
        within = part.error(found.residual) <= tolerance
        record.count(active, part.cost.minus(before))
        goes_on = record.add(active, found, within, is_first=k == 0, is_last=k == max_steps - 1)
        keep = goes_on.nonzero().flatten()
        if len(keep) == 0:
            break
        z = found.z
        if len(keep) < len(active):
            active, z, state, part = active[keep], z[keep], state.select(keep), part.select(keep)
    return record.solution(eq)


class _Record:
    """Collect what the iterations find: best iterates, statuses and counts, in the order of the whole batch."""

    def __init__(self, z0: Tensor) -> None:
        zeros = torch.zeros(len(z0), dtype=torch.int64, device=z0.device)
        self._z, self._eps = z0.clone(), torch.zeros_like(z0)
        self._merit = torch.full((len(z0),), torch.inf, device=z0.device)
        self._residual, self._first = self._merit.clone(), self._merit.clone()
        self._status = zeros + Status.MAX_STEPS
        self._iterations, self._forward, self._jvp, self._vjp = zeros, zeros.clone(), zeros.clone(), zeros.clone()
        self._calls = self._rows = 0

    def count(self, active: Tensor, spent: Cost) -> None:
        """Add one iteration of the active samples."""
        self._iterations[active] += 1
        self._forward[active] += spent.forward
        self._jvp[active] += spent.jvp
        self._vjp[active] += spent.vjp
        self._calls += spent.calls
        self._rows += spent.rows

    def add(
        self, active: Tensor, found: Iteration, within: Tensor, *, is_first: bool, is_last: bool
    ) -> Bool[Tensor, " n"]:
        """Take in what an iteration found for the active samples, and return which of them go on.

        Args:
            active: their places in the batch, int64 [n].
            within: whether their errors are within the tolerance, bool [n].
        """
        if is_first:
            self._first[active] = found.residual
        finite = torch.isfinite(found.answer).all(dim=(1, 2, 3)) & torch.isfinite(found.residual)
        converged = finite & within
        better = finite & ((found.merit < self._merit[active]) | converged)
        improved = active[better]
        self._merit[improved], self._residual[improved] = found.merit[better], found.residual[better]
        self._z[improved], self._eps[improved] = found.answer[better], found.eps[better]
        self._status[active[converged]] = Status.CONVERGED
        self._status[active[~finite]] = Status.NON_FINITE
        if is_last:
            grown = finite & ~converged & (found.residual > 2.0 * self._first[active])
            self._status[active[grown]] = Status.DIVERGED
            return torch.zeros_like(converged)
        continues = torch.isfinite(found.z).all(dim=(1, 2, 3)) & finite
        self._status[active[~continues & ~converged]] = Status.NON_FINITE
        return continues & ~converged

    def solution(self, eq: StepEquation) -> Solution:
        """Return everything as a `Solution` of the whole batch's equation."""
        return Solution(
            z=self._z,
            eps=self._eps,
            residual=self._residual,
            error=eq.error(self._residual),
            iterations=self._iterations,
            forward=self._forward,
            jvp=self._jvp,
            vjp=self._vjp,
            status=self._status,
            calls=self._calls,
            rows=self._rows,
        )
