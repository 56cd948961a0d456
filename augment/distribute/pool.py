"""The pool of workers in processes of their own: hands out units, collects reports, replaces workers that are lost."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from typing import Any

from augment.distribute.config import RunConfig, Watch
from augment.distribute.notices import Teller
from augment.distribute.outage import Outage
from augment.distribute.signals import StopRequest
from augment.distribute.task_queue import TaskQueue
from augment.distribute.unit_clock import HANGS, UnitClock
from augment.distribute.workers import Ended, PoolMember, Workers
from augment.errors import AugmentError, DeviceError, UnreachableError, WorkerError
from augment.storage.retry import BACKOFF_SECONDS
from augment.types import UnitReport, UnitTask

logger = logging.getLogger(__name__)
SETUP_HANGS = "it had not loaded its models within run.setup_timeout = {:.0f} s, and was ended"
SCALE_SECONDS = 2.0  # between two looks at how many workers there may be


class WorkerPool:
    """Hands units to workers and collects their reports.

    Args:
        workers: starts and ends them.
        output: the run's output folder or URL.
        run: the `run` section.
        queue: of the units.
        watch: is told how many workers are ready, and of every event.
        stop: says when no more units are to be begun.
    """

    def __init__(
        self, workers: Workers, output: str, run: RunConfig, queue: TaskQueue, watch: Watch, stop: StopRequest
    ) -> None:
        self._workers, self._run = workers, run
        self._queue, self._watch, self._stop = queue, watch, stop
        self._members: list[PoolMember] = []
        self._teller = Teller()
        self._owners: dict[Any, PoolMember] = {}  # call of a setup or a task -> its worker
        self._failed_setups = self._failed_alone = 0  # since a worker was ready; those that left no other worker
        self._no_starts_until = 0.0
        self._wanted, self._scaled = 0, -SCALE_SECONDS
        self._no_worker_since = time.monotonic()
        self._outage, self._clock = Outage(output), UnitClock(run.unit_timeout)

    def work(self) -> Iterator[UnitReport]:
        """Do the units, and yield a report as each is committed, in any order; end all workers in the end.

        A unit whose worker dies or raises goes to a new worker, which first tries alone the inputs that were being
        edited. A worker that takes longer for a unit than `run.unit_timeout`, or for its models than
        `run.setup_timeout`, is ended, which counts as a death. After `run.max_attempts` deaths that no single input
        explains, the unit's edits are committed as failed with the last reason.

        Raises:
            Interrupted: on SIGTERM or SIGINT, when the units in flight are done or `run.drain_seconds` are over.
            AugmentError: if a worker cannot be set up because of the config, the model or the output.
            WorkerError: if workers cannot be set up for another reason, or there is no machine for them.
            OSError: if workers cannot write their parts, and no retry helps.
            UnreachableError: if they cannot read their inputs, and no retry helps.
        """
        try:
            self._queue.discard_in_flight()
            yield from self._work()
        finally:
            self._close()

    def _work(self) -> Iterator[UnitReport]:
        while self._queue.in_flight or (not self._stop.requested and self._queue.waiting(1)):
            if not self._stop.requested:
                self._scale()
                self._hand_out()
            self._watch.tick(sum(member.ready for member in self._members))
            calls = list(self._owners)
            if not calls:  # the cluster has no machine now
                time.sleep(1.0)
                continue
            ready = self._workers.wait(calls, 1.0)
            for call in ready:
                if call in self._owners and not self._has_begun(call):  # otherwise its worker was let go meanwhile
                    yield from self._collect(call)
            del calls, ready  # a call that is held keeps what it returned
            yield from self._end_hanging()
        self._stop.check()

    def _scale(self) -> None:
        """Start workers while there are units for them; ask every `SCALE_SECONDS` how many there may be."""
        now = time.monotonic()
        if now - self._scaled >= SCALE_SECONDS:
            self._scaled = now
            self._wanted = self._workers.wanted()
            self._check_for_workers(now)
        starting = sum(not member.ready for member in self._members)
        # No more workers than units: a worker without a unit would load its model, for minutes, in vain.
        room = self._wanted - len(self._members) if now >= self._no_starts_until else 0
        for _ in range(min(room, self._queue.waiting(starting + max(0, room)) - starting)):
            member = self._workers.start()
            self._members.append(member)
            self._owners[member.beginning] = self._owners[member.setup] = member

    def _check_for_workers(self, now: float) -> None:
        """Raise WorkerError if for too long there has been no worker, nor one that loads its models."""
        if any(member.ready for member in self._members):
            self._no_worker_since = now
            return
        loading = any(member.alive_since <= now for member in self._members)
        # Loading may take its own time; but workers that are lost while they load, one after the other, are none.
        limit = self._run.wait_for_workers + (self._run.setup_timeout if loading else 0.0)
        if now - self._no_worker_since > limit:
            raise WorkerError(
                f"no worker was ready within run.wait_for_workers = {self._run.wait_for_workers:.0f} s; "
                f"{self._workers.advice}"
            )

    def _hand_out(self) -> None:
        """Give units to the workers that can take one; let go of idle workers that will not get another."""
        for depth in range(self._run.units_in_flight):  # each worker gets its first unit before any gets its second
            now = time.monotonic()
            for member in [m for m in self._members if m.ready and len(m.tasks) == depth and m.paused_until <= now]:
                if any(self._queue.is_exclusive(task) for task in member.tasks.values()):
                    continue
                task = self._queue.next(idle=not member.tasks)
                if task is not None:
                    self._owners[member.give(task, now)] = member
                elif depth == 0:
                    self._let_go(member)

    def _let_go(self, member: PoolMember) -> None:
        self._members.remove(member)
        for call in [call for call, owner in self._owners.items() if owner is member]:
            del self._owners[call]
        self._workers.end(member)

    def _has_begun(self, call: Any) -> bool:
        """Take note that a worker's process is there, and return whether that is what a call says."""
        member = self._owners[call]
        if call != member.beginning:
            return False
        del self._owners[call]  # a worker that died at once says so as the result of its setup, too
        member.alive_since = time.monotonic()
        return True

    def _collect(self, call: Any) -> Iterator[UnitReport]:
        """Yield the reports that follow from the end of a setup or task: of its unit, or of units given up with it."""
        member = self._owners.pop(call)
        task, began = member.tasks.pop(call, None), member.began.pop(call, 0.0)
        ended = self._workers.ended(member, call)
        self._teller.tell(ended.warnings)
        if ended.cause is None and not ended.died:
            if task is None:
                member.setup, member.machine = None, ended.result
                self._failed_setups = self._failed_alone = 0
            else:
                self._outage.ended()
                self._clock.done(ended.result, time.monotonic() - began)
                self._queue.done(task, ended.result)
                yield ended.result
            return
        if not ended.died:
            self._teller.tell(self._workers.take_warnings(member))
        if task is not None and isinstance(ended.cause, OSError | UnreachableError):
            self._wait_for_store(member, task, ended.cause)
            return
        others = list(member.tasks.values())
        self._let_go(member)  # its process may be damaged; a new worker will be started
        if task is None:
            self._setup_failed(ended)
            return
        for each in [task, *others]:
            if ended.died and self._stop.requested:  # the signal may have reached the workers as well
                self._queue.put_back(each)
                continue
            if ended.machine_lost:
                given_up = self._queue.machine_lost(each)
            elif ended.died or each is task:
                suspect = ended.died or isinstance(ended.cause, DeviceError)
                given_up = self._queue.worker_died(each, ended.reason, suspect=suspect)
            else:
                self._queue.put_back(each)
                continue
            if given_up is not None:
                yield given_up

    def _setup_failed(self, ended: Ended, reason: str = "") -> None:
        """Let another worker be tried, or raise if that cannot help or has failed too often."""
        if ended.machine_lost or (ended.died and self._stop.requested):
            return
        reason = reason or ended.reason
        self._watch.event("setup failed", {"reason": reason})
        logger.warning("a worker could not be set up, trying another: %s", reason)
        self._failed_setups += 1
        self._no_worker_since = time.monotonic()  # there was one; how many may fail is limited below
        # While others are ready or starting, one machine may be at fault, not the job; but not if none is ever ready.
        many = self._run.max_attempts * (1 + max(1, self._wanted))
        if self._members and (any(member.ready for member in self._members) or self._failed_setups <= many):
            self._no_starts_until = time.monotonic() + BACKOFF_SECONDS
            return
        if isinstance(ended.cause, AugmentError) and not isinstance(ended.cause, DeviceError):
            raise ended.cause  # the user has to solve it; another device may be sound
        self._failed_alone += not self._members
        if self._failed_alone > self._run.max_attempts or self._failed_setups > many:
            raise WorkerError(f"workers cannot be set up ({self._failed_setups} attempts); the last error: {reason}")

    def _wait_for_store(self, member: PoolMember, task: UnitTask, error: OSError | UnreachableError) -> None:
        """Queue a task again whose inputs or part could not be read or written, and pause its worker for a while.

        Raises:
            OSError, UnreachableError: if a retry cannot help, or the outage has lasted for too long.
        """
        self._outage.check(error)
        what = "read" if isinstance(error, UnreachableError) else "written"
        logger.warning("unit %s could not be %s, it is tried again: %s", task.unit.unit_id, what, error)
        self._watch.event(f"not {what}", {"unit": task.unit.unit_id, "reason": str(error)})
        member.paused_until = time.monotonic() + BACKOFF_SECONDS
        self._queue.put_back(task)

    def _end_hanging(self) -> Iterator[UnitReport]:
        """End the workers that take longer than they may, as if they had died; yield the units that are given up."""
        for member in [m for m in self._members if m.sets_up_for() > self._run.setup_timeout]:
            self._let_go(member)
            self._setup_failed(Ended(died=True), SETUP_HANGS.format(self._run.setup_timeout))
        limit, now = self._clock.limit, time.monotonic()
        for member in [m for m in self._members if now - m.oldest() > limit]:
            tasks = list(member.tasks.values())
            units = [task.unit.unit_id for task in tasks]
            logger.warning("a worker has not ended one of %s within %.0f s, and is ended", ", ".join(units), limit)
            self._watch.event("worker hangs", {"units": units, "seconds": limit})
            self._let_go(member)
            for task in tasks:
                if (given_up := self._queue.worker_died(task, HANGS)) is not None:
                    yield given_up

    def _close(self) -> None:
        for member in list(self._members):
            tasks = list(member.tasks.values())
            self._let_go(member)
            for task in tasks:
                self._queue.put_back(task)
