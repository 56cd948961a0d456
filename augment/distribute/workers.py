"""The interface between the pool, which hands out units, and the processes that do them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from augment.types import UnitTask

PROCESS_DIED = "the worker process died"  # without names of processes and machines: it becomes part of the output


@dataclass(frozen=True)
class Ended:
    """How a call of a worker ended.

    Attributes:
        result: what it returned.
        warnings: what was logged as a warning meanwhile.
        cause: what it raised; None if it raised nothing.
        died: whether the worker's process died.
        machine_lost: whether that was because its whole machine was lost.
    """

    result: Any = None
    warnings: tuple[str, ...] = ()
    cause: BaseException | None = None
    died: bool = False
    machine_lost: bool = False

    @property
    def reason(self) -> str:
        """Return why the call returned nothing."""
        return PROCESS_DIED if self.died else f"{type(self.cause).__name__}: {self.cause}"


@dataclass(eq=False)
class PoolMember:
    """Hold what the driver knows about a worker.

    Attributes:
        handle: of its process.
        hand_over: gives it a unit, and returns the call; the call's result is the report.
        beginning: the call whose end says that its process is there.
        setup: the call that loads its models, and returns the machine's id; None once that has ended.
        alive_since: when its process was there (monotonic seconds); infinity before.
        machine: id of its machine; "" until the setup has ended.
        paused_until: when it may get a unit again (monotonic seconds), after files of one could not be read or written.
        tasks: the units it has, by call.
        began: when it got each of them (monotonic seconds), by call.
    """

    handle: Any
    hand_over: Callable[[UnitTask], Any]
    beginning: Any
    setup: Any
    alive_since: float = float("inf")
    machine: str = ""
    paused_until: float = 0.0
    tasks: dict[Any, UnitTask] = field(default_factory=dict)
    began: dict[Any, float] = field(default_factory=dict)

    @property
    def ready(self) -> bool:
        """Return whether its models are loaded."""
        return self.setup is None

    def sets_up_for(self) -> float:
        """Return the seconds for which its process is there and not ready; 0 if it is, or is not there yet."""
        return 0.0 if self.ready else max(0.0, time.monotonic() - self.alive_since)

    def give(self, task: UnitTask, now: float) -> Any:
        """Hand a unit to the worker; return the call."""
        call = self.hand_over(task)
        self.tasks[call], self.began[call] = task, now
        return call

    def oldest(self) -> float:
        """Return when it got the unit that it has had for longest; infinity if it has none."""
        return min((self.began[call] for call in self.tasks), default=float("inf"))


class Workers(Protocol):
    """Starts workers, waits for their calls, and ends them. Calls are hashable and mean nothing to others.

    Attributes:
        advice: for a person, where there is no worker for too long.
    """

    advice: str

    def wanted(self) -> int:
        """Return how many workers there may be now."""
        ...

    def start(self) -> PoolMember:
        """Start a worker, which sets itself up at once."""
        ...

    def wait(self, calls: Sequence[Any], seconds: float) -> list[Any]:
        """Return those of the calls that have ended, waiting at most so long for the first; signals are handled."""
        ...

    def ended(self, member: PoolMember, call: Any) -> Ended:
        """Return how a call ended that `wait` has named; once."""
        ...

    def take_warnings(self, member: PoolMember) -> tuple[str, ...]:
        """Return what a worker has not told yet, after a call that raised; nothing if it does not answer."""
        ...

    def end(self, member: PoolMember) -> None:
        """End a worker, whatever it is doing."""
        ...
