"""The runner for clusters: Ray actors, one per GPU, started and lost with the machines of the cluster."""

from __future__ import annotations

import logging
import time
from collections.abc import Container, Generator, Iterable, Iterator
from typing import Any

import ray

from augment.distribute.actor import PoolMember, start_actor
from augment.distribute.cluster import ray_session, usable_workers
from augment.distribute.config import MakeWorker, RunConfig, Watch, WorkerSettings
from augment.distribute.notices import Teller, fetch_warnings
from augment.distribute.outage import Outage
from augment.distribute.signals import StopRequest, interruptible
from augment.distribute.task_queue import TaskQueue
from augment.distribute.unit_clock import HANGS, UnitClock
from augment.errors import AugmentError, DeviceError, UnreachableError, WorkerError
from augment.storage.retry import BACKOFF_SECONDS
from augment.types import Unit, UnitReport, UnitTask

logger = logging.getLogger(__name__)
SETUP_HANGS = "it had not loaded its models within run.setup_timeout = {:.0f} s, and was ended"
SCALE_SECONDS = 2.0  # between two requests for the resources of the cluster


def run_ray(
    config: WorkerSettings,
    units: Iterable[Unit],
    run: RunConfig,
    make_worker: MakeWorker,
    *,
    replaces: Container[str] = frozenset(),
    watch: Watch | None = None,
) -> Generator[UnitReport, None, None]:
    """Do the units on a pool of Ray actors, and yield a report as each is committed, in any order.

    A unit whose worker dies or raises goes to a new actor, which first tries alone the inputs that were being edited.
    A worker that takes longer for a unit than `run.unit_timeout`, or for its models than `run.setup_timeout`, is ended,
    which counts as a death. After
    `run.max_attempts` deaths that no single input explains, the unit's edits are committed as failed with the last
    reason. Ray's own retries are off, because they could not be counted.

    Args:
        config: the settings of the workers.
        units: the units to do.
        run: the `run` section.
        make_worker: makes a worker from `config`, in its actor.
        replaces: ids of units whose commit is to be replaced.
        watch: is told how many workers are ready, and of every event.

    Raises:
        Interrupted: on SIGTERM or SIGINT, when the units in flight are done or `run.drain_seconds` are over.
        AugmentError: if a worker cannot be set up because of the config, the model or the output.
        WorkerError: if workers cannot be set up for another reason, or there is no machine for them.
        OSError: if workers cannot write their parts, and no retry helps.
        UnreachableError: if they cannot read their inputs, and no retry helps.
    """
    watch = watch or Watch()
    with ray_session(run), interruptible(run.drain_seconds) as stop:
        queue = TaskQueue(config, units, run, replaces, watch)
        queue.discard_in_flight()
        pool = _Pool(config, run, make_worker, queue, watch, stop)
        try:
            yield from pool.work()
        finally:
            pool.close()


class _Pool:
    """Hands units to actors and collects their reports."""

    def __init__(
        self,
        config: WorkerSettings,
        run: RunConfig,
        make_worker: MakeWorker,
        queue: TaskQueue,
        watch: Watch,
        stop: StopRequest,
    ) -> None:
        self._config, self._run, self._make_worker = config, run, make_worker
        self._queue, self._watch, self._stop = queue, watch, stop
        self._members: list[PoolMember] = []
        self._teller = Teller()
        self._owners: dict[Any, PoolMember] = {}  # object ref of a setup or a task -> its actor
        self._failed_setups, self._no_starts_until = 0, 0.0
        self._wanted, self._scaled = 0, -SCALE_SECONDS
        self._no_worker_since = time.monotonic()
        self._outage, self._clock = Outage(config.output), UnitClock(run.unit_timeout)

    def work(self) -> Iterator[UnitReport]:
        while self._queue.in_flight or (not self._stop.requested and self._queue.waiting(1)):
            if not self._stop.requested:
                self._scale()
                self._hand_out()
            self._watch.tick(sum(member.ready for member in self._members))
            # With a timeout, because Ray waits in native code, where a signal is not handled.
            refs = list(self._owners)
            if not refs:  # the cluster has no machine now
                time.sleep(1.0)
                continue
            ready, rest = ray.wait(refs, num_returns=1, timeout=1.0)
            if rest and ready:
                ready += ray.wait(rest, num_returns=len(rest), timeout=0)[0]
            del refs, rest
            for ref in ready:
                if ref in self._owners and not self._has_begun(ref):  # otherwise its actor was let go meanwhile
                    yield from self._collect(ref)
            del ready
            yield from self._end_hanging()
        self._stop.check()

    def _scale(self) -> None:
        """Start actors while there are units for them; ask every `SCALE_SECONDS` what the cluster has."""
        now = time.monotonic()
        if now - self._scaled >= SCALE_SECONDS:
            self._scaled = now
            self._wanted = usable_workers(self._run, self._config.device, ray.cluster_resources())
            if any(member.ready for member in self._members):
                self._no_worker_since = now
            elif now - self._no_worker_since > self._run.wait_for_workers:
                raise WorkerError(
                    f"no worker could be started within run.wait_for_workers = {self._run.wait_for_workers:.0f} s; "
                    "does the cluster have machines with what a worker needs? `ray status` says what it has"
                )
        starting = sum(not member.ready for member in self._members)
        # No more actors than units: an actor without a unit would load its model, for minutes, in vain.
        room = self._wanted - len(self._members) if now >= self._no_starts_until else 0
        for _ in range(min(room, self._queue.waiting(starting + max(0, room)) - starting)):
            member = start_actor(self._config, self._run, self._make_worker)
            self._members.append(member)
            self._owners[member.beginning] = self._owners[member.setup] = member

    def _hand_out(self) -> None:
        """Give units to the actors that can take one; let go of idle actors that will not get another."""
        for depth in range(self._run.units_in_flight):  # each actor gets its first unit before any gets its second
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
        for ref in [ref for ref, owner in self._owners.items() if owner is member]:
            del self._owners[ref]
        ray.kill(member.actor)

    def _has_begun(self, ref: Any) -> bool:
        """Take note that an actor's process is there, and return whether that is what a result says."""
        member = self._owners[ref]
        if ref != member.beginning:
            return False
        del self._owners[ref]  # an actor that died at once says so as the result of its setup, too
        member.alive_since = time.monotonic()
        return True

    def _collect(self, ref: Any) -> Iterator[UnitReport]:
        """Yield the reports that follow from the end of a setup or task: of its unit, or of units given up with it."""
        member = self._owners.pop(ref)
        task, began = member.tasks.pop(ref, None), member.began.pop(ref, 0.0)
        try:
            result, warnings = ray.get(ref)
        except ray.exceptions.RayTaskError as error:
            cause, reason = error.cause, f"{type(error.cause).__name__}: {error.cause}"
            died = lost = False
        except ray.exceptions.RayError as error:
            # Without Ray's words, which name processes and machines: the reason becomes part of the output.
            cause, reason, died, lost = None, "the worker process died", True, self._machine_lost(member, error)
        else:
            self._teller.tell(warnings)
            if task is None:
                member.setup, member.machine, self._failed_setups = None, result, 0
            else:
                self._outage.ended()
                self._clock.done(result, time.monotonic() - began)
                self._queue.done(task, result)
                yield result
            return
        # Outside of `except`: the exception would keep the dead actor's handle, and its GPU, reserved.
        if not died:
            self._teller.tell(fetch_warnings(member.actor))
        if task is not None and isinstance(cause, OSError | UnreachableError):
            self._wait_for_store(member, task, cause)
            return
        others = list(member.tasks.values())
        self._let_go(member)  # its process may be damaged; a new actor will be started
        if task is None:
            self._setup_failed(cause, reason, lost)
            return
        for each in [task, *others]:
            if died and self._stop.requested:  # the signal may have reached the workers as well
                self._queue.put_back(each)
                continue
            if lost:
                given_up = self._queue.machine_lost(each)
            elif died or each is task:
                given_up = self._queue.worker_died(each, reason, suspect=died or isinstance(cause, DeviceError))
            else:
                self._queue.put_back(each)
                continue
            if given_up is not None:
                yield given_up

    def _setup_failed(self, cause: Exception | None, reason: str, lost: bool) -> None:
        """Let another actor be tried, or raise if that cannot help or has failed too often."""
        if lost:
            return
        self._watch.event("setup failed", {"reason": reason})
        logger.warning("a worker could not be set up, trying another: %s", reason)
        if self._members:  # others are ready or starting: one machine may be at fault, not the job
            self._no_starts_until = time.monotonic() + BACKOFF_SECONDS
            return
        if isinstance(cause, AugmentError) and not isinstance(cause, DeviceError):
            raise cause  # the user has to solve it; another device may be sound
        self._failed_setups += 1
        if self._failed_setups > self._run.max_attempts:
            raise WorkerError(f"workers cannot be set up ({self._failed_setups} attempts); the last error: {reason}")

    def _wait_for_store(self, member: PoolMember, task: UnitTask, error: OSError | UnreachableError) -> None:
        """Queue a task again whose inputs or part could not be read or written, and pause its actor for a while.

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
        """End the actors that take longer than they may, as if they had died; yield the units that are given up."""
        for member in [m for m in self._members if m.sets_up_for() > self._run.setup_timeout]:
            self._let_go(member)
            self._setup_failed(None, SETUP_HANGS.format(self._run.setup_timeout), lost=False)
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

    def _machine_lost(self, member: PoolMember, error: Exception) -> bool:
        """Return whether an actor died because its whole machine was lost."""
        if getattr(error, "preempted", False) or "node has died" in str(error):
            return True
        alive = {node["NodeID"] for node in ray.nodes() if node["Alive"]}
        return bool(member.machine) and member.machine not in alive

    def close(self) -> None:
        for member in list(self._members):
            tasks = list(member.tasks.values())
            self._let_go(member)
            for task in tasks:
                self._queue.put_back(task)
