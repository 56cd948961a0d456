"""The units still to be done, and what becomes of a unit whose worker died. Knows neither Ray nor processes."""

from __future__ import annotations

import logging
import uuid
from collections import deque
from collections.abc import Container, Iterable
from dataclasses import dataclass

from augment.dataset.record import failed_unit_samples
from augment.distribute.config import RunConfig, Watch, WorkerSettings
from augment.ledger.in_flight import Suspects
from augment.ledger.ledger import Ledger
from augment.storage.resolve import open_store
from augment.storage.retry import RetryingStore
from augment.storage.store import Store
from augment.types import Unit, UnitReport, UnitTask

logger = logging.getLogger(__name__)
LOST_MACHINES = 10  # times `max_attempts`: preemptible machines are lost often, but a unit must end some time


@dataclass
class _Entry:
    """A unit that is not done.

    Attributes:
        deaths: number of deaths of workers on this unit that no suspect explains.
        losses: number of machines lost with this unit.
        exclusive: whether the unit gets a worker of its own, so that a death can only be this unit's.
    """

    unit: Unit
    deaths: int = 0
    losses: int = 0
    exclusive: bool = False


class TaskQueue:
    """Hands out tasks, and decides what follows from the outcome of each.

    Args:
        config: the settings of the workers.
        units: the units to do, in order; read as they are needed.
        run: the `run` section.
        replaces: ids of units whose commit is to be replaced.
        watch: is told of deaths, losses, quarantines and batch sizes.
        store: the output folder; None opens `config.output`.
        in_driver: whether the one worker is the driver's own process.
    """

    def __init__(
        self,
        config: WorkerSettings,
        units: Iterable[Unit],
        run: RunConfig,
        replaces: Container[str] = frozenset(),
        watch: Watch | None = None,
        store: Store | None = None,
        in_driver: bool = False,
    ) -> None:
        self._config, self._run, self._replaces, self._watch = config, run, replaces, watch or Watch()
        self._in_driver = in_driver
        self._fresh = iter(units)
        self._ahead: deque[_Entry] = deque()  # taken from `_fresh`, not handed out yet
        self._again: deque[_Entry] = deque()
        self._in_flight: dict[str, _Entry] = {}  # by attempt
        store = store or open_store(config.output)
        self._ledger, self._suspects = Ledger(RetryingStore(store)), Suspects(store)
        self._size_limit = 0  # images per batch that fit into memory, as a worker found out; 0: not known

    def merge_in_flight(self) -> None:
        """Make suspects of what a local run before this one was editing when it died: its driver was the worker."""
        self._suspects.merge_all()

    def discard_in_flight(self) -> None:
        """Remove the in-flight files of workers that died with their driver: no input was the cause."""
        self._suspects.discard_all()

    def waiting(self, enough: int) -> int:
        """Return how many units can be handed out now; counting stops at `enough`."""
        while len(self._ahead) + len(self._again) < enough and (unit := next(self._fresh, None)) is not None:
            self._ahead.append(_Entry(unit))
        return min(enough, len(self._ahead) + len(self._again))

    @property
    def in_flight(self) -> int:
        """Return the number of units that are handed out and have no outcome yet."""
        return len(self._in_flight)

    def next(self, idle: bool = True) -> UnitTask | None:
        """Return the next task, or None if there is none for this worker.

        Args:
            idle: whether the worker has no other unit in flight; exclusive units go to idle workers only.
        """
        if self._again and (idle or not self._again[0].exclusive):
            entry = self._again.popleft()
        elif self._ahead:
            entry = self._ahead.popleft()
        elif (unit := next(self._fresh, None)) is not None:
            entry = _Entry(unit)
        else:
            return None
        alone, quarantined = self._suspects.for_unit(entry.unit)
        entry.exclusive = entry.exclusive or bool(alone)
        if entry.exclusive and not idle:
            self._again.appendleft(entry)
            return None
        attempt = uuid.uuid4().hex[:12]
        self._in_flight[attempt] = entry
        last = entry.deaths > 0 and entry.deaths + 1 >= self._run.max_attempts
        # The last attempt edits one image at a time: whole batches may need more memory than the machine has.
        limit = 1 if last else self._size_limit
        replaces = entry.unit.unit_id in self._replaces
        return UnitTask(entry.unit, attempt, alone, quarantined, limit, replaces, self._in_driver)

    def is_exclusive(self, task: UnitTask) -> bool:
        """Return whether a task must have its worker to itself."""
        return self._in_flight[task.attempt].exclusive

    def done(self, task: UnitTask, report: UnitReport) -> None:
        """Take note that a task was committed."""
        del self._in_flight[task.attempt]
        self._suspects.unit_done(task.unit)
        known = report.batch_size if 0 < report.batch_size < self._config.batch_size else 0
        if known and (not self._size_limit or known < self._size_limit):
            self._size_limit = known
            self._watch.event("batch size", {"unit": task.unit.unit_id, "batch_size": known})

    def put_back(self, task: UnitTask) -> None:
        """Queue a task again that another cause ended: another unit of its worker failed, or the run stops."""
        self._suspects.discard(task.unit.unit_id, task.attempt)
        self._again.append(self._in_flight.pop(task.attempt))

    def machine_lost(self, task: UnitTask) -> UnitReport | None:
        """Queue a task again whose whole machine is gone; no input is suspected.

        Returns:
            the report of a unit that is given up because that happened too often; None otherwise.
        """
        entry = self._in_flight.pop(task.attempt)
        self._suspects.discard(task.unit.unit_id, task.attempt)
        entry.losses += 1
        self._watch.event("machine lost", {"unit": task.unit.unit_id, "losses": entry.losses})
        if entry.losses >= LOST_MACHINES * self._run.max_attempts:
            return self._give_up(entry, f"{entry.losses} machines were lost while they worked on this unit")
        self._again.append(entry)
        return None

    def worker_died(self, task: UnitTask, reason: str, suspect: bool = True) -> UnitReport | None:
        """Queue a task again on which a worker died or failed as a whole, or give the unit up.

        A death is not counted if the worker had one suspect alone, because that suspect explains it, and the count
        starts again when an input is newly quarantined. A unit has a fixed number of inputs, so neither goes on for
        ever.

        Args:
            task: what the worker had.
            reason: why it ended, for the log and for the records of a unit that is given up.
            suspect: whether an input may have been the cause.

        Returns:
            the report of a unit that is given up after `run.max_attempts` deaths; None otherwise.
        """
        entry, unit_id = self._in_flight.pop(task.attempt), task.unit.unit_id
        begun = self._suspects.worker_died(unit_id, task.attempt) if suspect else None
        if not suspect:
            self._suspects.discard(unit_id, task.attempt)
        _, quarantined = self._suspects.for_unit(entry.unit)
        new = quarantined.keys() - task.quarantined.keys()
        entry.exclusive = True
        entry.deaths = 0 if new else entry.deaths + (0 if begun is not None and begun.alone else 1)
        inputs = list(begun.keys) if begun is not None else []
        content = {"unit": unit_id, "attempt": task.attempt, "reason": reason, "deaths": entry.deaths, "begun": inputs}
        self._watch.event("worker died", content)
        for key in sorted(new):
            self._watch.event("quarantine", {"unit": unit_id, "input": key})
            logger.warning("%s is quarantined: it %s", key, quarantined[key])
        logger.warning("unit %s, death %d of %d: %s", unit_id, entry.deaths, self._run.max_attempts, reason)
        if entry.deaths >= self._run.max_attempts:
            return self._give_up(entry, f"{entry.deaths} workers died or failed on this unit; the last: {reason}")
        self._again.append(entry)
        return None

    def _give_up(self, entry: _Entry, reason: str) -> UnitReport:
        self._watch.event("given up", {"unit": entry.unit.unit_id, "reason": reason})
        replaces = entry.unit.unit_id in self._replaces
        if replaces:  # the commit that was to be replaced holds edits, so it stays
            return self._ledger.report_of(entry.unit.unit_id)
        return give_up(self._ledger, self._config, entry.unit, reason)


def give_up(ledger: Ledger, config: WorkerSettings, unit: Unit, reason: str) -> UnitReport:
    """Commit a unit with all its edits failed, so that the run can end and every planned edit has a record.

    Args:
        ledger: of the output folder.
        config: the settings of the workers.
        unit: the unit to give up.
        reason: why, for the records.

    Returns:
        the report that counts: that of a worker that was thought dead, if it committed after all.
    """
    digest = config.config_hash
    part, sha256 = ledger.write_part(
        unit.unit_id, failed_unit_samples(unit, digest, "worker", reason, **config.known_fields())
    )
    by_class: dict[str, int] = {}
    for planned in unit.sources:
        name = planned.source.class_name
        by_class[name] = by_class.get(name, 0) + len(planned.variants)
    report = UnitReport(
        unit.unit_id,
        config.pixels_hash,
        part,
        sha256,
        unit.planned,
        edited=0,
        failed=unit.planned,
        seconds={},
        failed_by_stage={"worker": unit.planned},
        failed_by_class=by_class,
        planned_by_class=by_class,
    )
    return ledger.commit(report)
