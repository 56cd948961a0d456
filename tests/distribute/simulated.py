"""Drivers and workers without processes: the test decides which of them makes its next step, and which dies.

The queue, the ledger, the lease and the in-flight files are the real ones. A worker is a generator that does what
`Worker.run_unit` does, in the same order, and stops wherever a real one might be killed.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from augment.distribute.config import RunConfig
from augment.distribute.task_queue import TaskQueue
from augment.ledger.in_flight import InFlight, Suspects
from augment.ledger.ledger import Ledger
from augment.ledger.plan import Plan, cut_units
from augment.types import PlannedSource, Source, Unit, UnitReport, UnitTask, Variant
from tests.memory_store import Client, Killed, MemoryStore

BATCH_SIZE, UNIT_SIZE = 2, 3
SOURCES = tuple(f"s{i:02}" for i in range(9))
UNITS = list(
    cut_units(
        (PlannedSource(Source(key, "", 1, 0, "fox"), "a fox", (Variant(0, "a fox at night"),)) for key in SOURCES),
        UNIT_SIZE,
    )
)
RUN = RunConfig(max_attempts=4, batch_size=BATCH_SIZE, units_in_flight=2)
Kind = Literal["local", "ray"]
Steps = Generator[tuple[tuple[str, ...], bool], None, UnitReport]


@dataclass(frozen=True)
class Settings:
    """What a queue reads of the settings of workers."""

    config_hash: str
    pixels_hash: str
    output: str = "memory://test"
    device: str = "cpu"
    batch_size: int = BATCH_SIZE

    def known_fields(self) -> dict[str, Any]:
        return {"seed": 0, "model_id": "model", "model_revision": ""}


def run_unit(client: Client, task: UnitTask, digest: str) -> Steps:
    """Do a unit; yield wherever the process might die, with the inputs at work and whether there is one alone."""
    ledger, unit = Ledger(client), task.unit
    in_flight = InFlight(client, unit.unit_id, task.attempt, task.in_driver)
    yield (), False
    for key in task.alone:
        in_flight.begin([key], alone=True)
        yield (key,), True
        in_flight.clear(key)
    wanted = [p.source.key for p in unit.sources if p.source.key not in task.quarantined]
    size = min(BATCH_SIZE, task.batch_size or BATCH_SIZE)
    for start in range(0, len(wanted), size):
        in_flight.begin(wanted[start : start + size])
        yield tuple(wanted[start : start + size]), False
    in_flight.begin(())
    yield (), False
    part, sha256 = ledger.write_part(unit.unit_id, [(key, {"txt": b""}) for key in wanted])
    yield (), False
    failed = unit.planned - len(wanted)
    report = UnitReport(unit.unit_id, digest, part, sha256, unit.planned, len(wanted), failed, {})
    report = ledger.commit(report, task.replaces)
    yield (), False
    in_flight.close()
    return report


@dataclass(eq=False)
class Attempt:
    """One attempt at a unit, in whatever process."""

    task: UnitTask
    client: Client
    steps: Steps
    keys: tuple[str, ...] = ()
    alone: bool = False

    def step(self) -> UnitReport | None:
        """Go on to the next place where the process might die; return the report if the unit is done.

        Raises:
            OSError: if the answer to the commit was lost.
        """
        try:
            self.keys, self.alone = next(self.steps)
        except StopIteration as stop:
            report: UnitReport = stop.value
            return report
        return None


@dataclass(eq=False)
class SimulatedWorker:
    """A process with up to `units_in_flight` attempts."""

    attempts: list[Attempt] = field(default_factory=list)


class Driver:
    """One run of the job over the store: lock, recover, queue.

    Attributes:
        again: ids of the units that are made once more.
        kind: `local` if it is its own and only worker.
        number: tells the drivers of a test apart.

    Raises:
        Killed: if it is killed meanwhile.
    """

    def __init__(
        self,
        store: MemoryStore,
        plan: Plan,
        clock: Callable[[], float],
        kind: Kind,
        retry_failed: bool,
        calls_left: int | None,
    ) -> None:
        self.store, self.plan, self.kind, self.number = store, plan, kind, 0
        self.client = Client(store)
        self.client.calls_left = calls_left
        self.ledger = Ledger(self.client)
        self.workers = [SimulatedWorker() for _ in range(1 if kind == "local" else 2)]
        self._lock = self.ledger.lock(clock)
        self._lock.__enter__()
        try:
            self._begin(retry_failed)
        except BaseException:
            self.die()
            raise

    def _begin(self, retry_failed: bool) -> None:
        done = self.ledger.recover()
        self.again = frozenset(u for u, report in done.items() if report.failed) if retry_failed else frozenset()
        todo = [unit for unit in UNITS if unit.unit_id not in done or unit.unit_id in self.again]
        if self.again:
            Suspects(self.client).reset(unit for unit in UNITS if unit.unit_id in self.again)
        settings = Settings(self.plan.config_hash, self.plan.pixels_hash)
        self.queue = TaskQueue(settings, todo, RUN, self.again, store=self.client, in_driver=self.kind == "local")
        if self.kind == "local":
            self.queue.merge_in_flight()
        else:
            self.queue.discard_in_flight()

    @property
    def attempts(self) -> list[Attempt]:
        """All attempts that its workers have begun."""
        return [attempt for worker in self.workers for attempt in worker.attempts]

    @property
    def drained(self) -> bool:
        """Whether every unit has had an outcome."""
        return self.queue.in_flight == 0 and self.queue.waiting(1) == 0

    def hand_out(self, worker: SimulatedWorker) -> bool:
        """Give a worker a unit if it has room and there is one for it, as the runners do."""
        room = 1 if self.kind == "local" else RUN.units_in_flight
        if len(worker.attempts) >= room or any(self.queue.is_exclusive(a.task) for a in worker.attempts):
            return False
        task = self.queue.next(idle=not worker.attempts)
        if task is None:
            return False
        client = Client(self.store)
        worker.attempts.append(Attempt(task, client, run_unit(client, task, self.plan.pixels_hash)))
        return True

    def worker_died(self, worker: SimulatedWorker, suspect: bool = True) -> None:
        """Tell the queue of the death of a process."""
        attempts, worker.attempts = worker.attempts, []
        for attempt in attempts:
            self.queue.worker_died(attempt.task, "the worker process died", suspect)

    def publish(self) -> Mapping[str, UnitReport]:
        """Do what is done at the end, up to the first file that two drivers must not both write.

        Raises:
            OutputError: if another driver has taken over.
        """
        Suspects(self.client).clear()
        self.ledger.confirm_lock()
        return self.ledger.committed()

    def end(self) -> None:
        """Leave in order: the lease is released."""
        self._lock.__exit__(None, None, None)

    def die(self) -> None:
        """Leave without a word."""
        self.client.kill()
        try:
            self._lock.__exit__(None, None, None)
        except Killed:
            return


def unit_of(key: str) -> Unit:
    """Return the unit that a source belongs to."""
    return UNITS[SOURCES.index(key) // UNIT_SIZE]
