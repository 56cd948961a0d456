"""The runner for tests, debuggers and small jobs: one worker, in the driver's process."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Container, Generator, Iterable

from augment.distribute.config import MakeWorker, RunConfig, UnitWorker, Watch, WorkerSettings
from augment.distribute.outage import Outage
from augment.distribute.signals import StopRequest, TookTooLong, interruptible
from augment.distribute.task_queue import TaskQueue
from augment.distribute.unit_clock import HANGS, UnitClock
from augment.errors import Interrupted, UnreachableError
from augment.storage.retry import BACKOFF_SECONDS
from augment.types import Unit, UnitReport, UnitTask

logger = logging.getLogger(__name__)


def run_local(
    config: WorkerSettings,
    units: Iterable[Unit],
    run: RunConfig,
    make_worker: MakeWorker,
    *,
    replaces: Container[str] = frozenset(),
    watch: Watch | None = None,
) -> Generator[UnitReport, None, None]:
    """Do the units one after the other in this process, and yield a report as each is committed.

    An input that kills the process is found by the runs that follow: the first tries the suspects alone. A unit that
    takes longer than `run.unit_timeout` is left, and a new worker tries its suspects alone; if nothing interrupts it,
    the process ends with `signals.HUNG_EXIT_CODE`.

    Args:
        config: the settings of the worker.
        units: the units to do.
        run: the `run` section.
        make_worker: makes the worker from `config`.
        replaces: ids of units whose commit is to be replaced.
        watch: is told how many workers are ready, and of every event.

    Raises:
        Interrupted: on SIGTERM or SIGINT, after the unit at work if that ends within `run.drain_seconds`.
        OSError: if a unit cannot be written. The next run goes on from there; this one does not wait for the store.
        UnreachableError: if the inputs cannot be read, and no retry helps.
    """
    watch = watch or Watch()
    queue = TaskQueue(config, units, run, replaces, watch, in_driver=True)
    clock, outage = UnitClock(run.unit_timeout), Outage(config.output)
    with interruptible(run.drain_seconds) as stop:
        queue.merge_in_flight()
        worker: UnitWorker | None = None
        while (task := queue.next()) is not None:
            if worker is None:
                worker = make_worker(config)
                worker.setup()
            watch.tick(1)
            stop.check()
            began, limit = time.monotonic(), clock.limit
            try:
                report = _attempt(worker, task, stop, limit)
            except UnreachableError as error:
                queue.put_back(task)
                _wait(task, error, outage, watch)
                continue
            except (Interrupted, OSError):
                queue.put_back(task)  # no input was the cause
                raise
            if report is not None:
                outage.ended()
                clock.done(report, time.monotonic() - began)
                queue.done(task, report)
            else:
                worker = None  # whatever it was doing, it is in the middle of it
                watch.event("worker hangs", {"units": [task.unit.unit_id], "seconds": limit})
                report = queue.worker_died(task, HANGS)
            if report is not None:
                yield report


def _attempt(worker: UnitWorker, task: UnitTask, stop: StopRequest, seconds: float) -> UnitReport | None:
    """Return the report of a unit; None if it took longer than so many seconds."""
    report = None
    with contextlib.suppress(TookTooLong), stop.limited(seconds):
        report = worker.run_unit(task)
    return report


def _wait(task: UnitTask, error: UnreachableError, outage: Outage, watch: Watch) -> None:
    """Wait a little for the inputs. Raises UnreachableError if they have been away for too long."""
    outage.check(error)
    logger.warning("unit %s could not be read, it is tried again: %s", task.unit.unit_id, error)
    watch.event("not read", {"unit": task.unit.unit_id, "reason": str(error)})
    time.sleep(BACKOFF_SECONDS)
