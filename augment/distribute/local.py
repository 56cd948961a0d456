"""The runner for tests, debuggers and small jobs: one worker, in the driver's process."""

from __future__ import annotations

from collections.abc import Container, Generator, Iterable

from augment.distribute.config import MakeWorker, RunConfig, Watch, WorkerSettings
from augment.distribute.signals import interruptible
from augment.distribute.task_queue import TaskQueue
from augment.errors import Interrupted
from augment.types import Unit, UnitReport


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

    An input that kills the process is found by the runs that follow: the first tries the suspects alone.

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
    """
    watch = watch or Watch()
    queue = TaskQueue(config, units, run, replaces, watch, in_driver=True)
    with interruptible(run.drain_seconds) as stop:
        queue.merge_in_flight()
        worker = make_worker(config)
        worker.setup()
        watch.tick(1)
        while (task := queue.next()) is not None:
            stop.check()
            try:
                report = worker.run_unit(task)
            except (Interrupted, OSError):
                queue.put_back(task)  # no input was the cause
                raise
            queue.done(task, report)
            watch.tick(1)
            yield report
