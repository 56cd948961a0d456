"""The units still to be done, and what the death of a worker means for those it had. Knows no Ray and no process."""

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
from augment.storage.retry import PatientStore
from augment.types import Unit, UnitReport, UnitTask

logger = logging.getLogger(__name__)
LOST_MACHINES = 10  # times `max_attempts`: losing machines is everyday life on preemptible ones, but not for ever


@dataclass
class _Entry:
    """A unit that is not done. `deaths` and `losses` count unexplained deaths of workers, and lost machines."""

    unit: Unit
    deaths: int = 0
    losses: int = 0
    careful: bool = False  # alone on its worker, so that it is clear whose fault a death is


class TaskQueue:
    """Hands out tasks and takes back what became of them.

    Args:
        replaces: ids of units that have a commit which is to be replaced.
    """

    def __init__(
        self,
        config: WorkerSettings,
        units: Iterable[Unit],
        run: RunConfig,
        replaces: Container[str] = frozenset(),
        watch: Watch | None = None,
    ) -> None:
        self._config, self._run, self._replaces, self._watch = config, run, replaces, watch or Watch()
        self._fresh = iter(units)
        self._ahead: deque[_Entry] = deque()  # taken from `fresh`, not handed out yet
        self._again: deque[_Entry] = deque()
        self._at_work: dict[str, _Entry] = {}  # by attempt
        store = open_store(config.output)
        self._ledger, self._suspects = Ledger(PatientStore(store)), Suspects(store)
        self._size_limit = 0  # of batches, once a worker has found out; 0: none known

    def absorb(self) -> None:
        """Take over the journals of a local run before this one: the driver that died was the worker."""
        self._suspects.absorb()

    def forget(self) -> None:
        """Drop the journals of workers that died with their driver: no input's fault."""
        self._suspects.forget()

    def waiting(self, enough: int) -> int:
        """How many units can be handed out now, counted up to `enough`."""
        while len(self._ahead) + len(self._again) < enough and (unit := next(self._fresh, None)) is not None:
            self._ahead.append(_Entry(unit))
        return min(enough, len(self._ahead) + len(self._again))

    @property
    def at_work(self) -> int:
        """Units handed out and not heard of again."""
        return len(self._at_work)

    def next(self, idle: bool = True) -> UnitTask | None:
        """The next task, or None if there is none for a worker that is `idle`, or that has another unit in flight."""
        if self._again and (idle or not self._again[0].careful):
            entry = self._again.popleft()
        elif self._ahead:
            entry = self._ahead.popleft()
        elif (unit := next(self._fresh, None)) is not None:
            entry = _Entry(unit)
        else:
            return None
        alone, quarantined = self._suspects.of(entry.unit)
        entry.careful = entry.careful or bool(alone)
        if entry.careful and not idle:
            self._again.appendleft(entry)
            return None
        attempt = uuid.uuid4().hex[:12]
        self._at_work[attempt] = entry
        last = entry.deaths > 0 and entry.deaths + 1 >= self._run.max_attempts
        # The last attempt goes image by image: a batch may take more of the machine's memory than there is.
        limit = 1 if last else self._size_limit
        return UnitTask(entry.unit, attempt, alone, quarantined, limit, entry.unit.unit_id in self._replaces)

    def is_careful(self, task: UnitTask) -> bool:
        """Whether a task wants its worker for itself."""
        return self._at_work[task.attempt].careful

    def done(self, task: UnitTask, report: UnitReport) -> None:
        """A task was committed."""
        del self._at_work[task.attempt]
        self._suspects.done(task.unit)
        known = report.batch_size if 0 < report.batch_size < self._config.batch_size else 0
        if known and (not self._size_limit or known < self._size_limit):
            self._size_limit = known
            self._watch.event("batch size", {"unit": task.unit.unit_id, "batch_size": known})

    def put_back(self, task: UnitTask) -> None:
        """A task was ended for a reason that lay elsewhere: another unit of its worker failed, or the run stops."""
        self._suspects.innocent(task.unit.unit_id, task.attempt)
        self._again.append(self._at_work.pop(task.attempt))

    def machine_lost(self, task: UnitTask) -> UnitReport | None:
        """The whole machine is gone, so no input is suspected. Returns a report if that happened too often."""
        entry = self._at_work.pop(task.attempt)
        self._suspects.innocent(task.unit.unit_id, task.attempt)
        entry.losses += 1
        self._watch.event("machine lost", {"unit": task.unit.unit_id, "losses": entry.losses})
        if entry.losses >= LOST_MACHINES * self._run.max_attempts:
            return self._give_up(entry, f"{entry.losses} machines were lost while they worked on this unit")
        self._again.append(entry)
        return None

    def worker_died(self, task: UnitTask, reason: str, suspect: bool = True) -> UnitReport | None:
        """A worker died on a task, or failed as a whole. Returns a report if the unit is given up.

        Args:
            suspect: whether an input may have been the cause.

        A death of a worker that had one suspect alone explains itself and is not counted; deaths are counted anew once
        an input is in quarantine. Both can happen only so many times, as a unit has only so many inputs.
        """
        entry, unit_id = self._at_work.pop(task.attempt), task.unit.unit_id
        begun = self._suspects.died(unit_id, task.attempt) if suspect else None
        if not suspect:
            self._suspects.innocent(unit_id, task.attempt)
        _, quarantined = self._suspects.of(entry.unit)
        new = quarantined.keys() - task.quarantined.keys()
        entry.careful = True
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
        if replaces:  # the commit that was to be replaced is better than none, and stays
            return self._ledger.report_of(entry.unit.unit_id)
        return give_up(self._ledger, self._config, entry.unit, reason)


def give_up(ledger: Ledger, config: WorkerSettings, unit: Unit, reason: str) -> UnitReport:
    """Commit a unit with all its edits failed, so that the run can end and every planned edit is accounted for.

    Returns the report that counts: a worker thought dead may have committed after all.
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
        digest,
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
