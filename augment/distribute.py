"""Units in, reports out: in this process, or on a pool of Ray actors. The only file that imports Ray.

Both runners have one signature and give the same bytes: a worker reads sources and writes parts itself, so a unit's
descriptor goes out, a small report comes back, and no image passes through here.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import FrameType
from typing import Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field

from augment.data.ledger import Ledger
from augment.data.shards import failed_unit_samples
from augment.types import Unit, UnitReport
from augment.worker import Worker, WorkerConfig

logger = logging.getLogger(__name__)


class RunConfig(BaseModel):
    """Who does the work, and how much of it at once. None of it changes a pixel, but `unit_size` shapes the plan."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    executor: Literal["local", "ray"] = Field(default="ray", description="`local`: in this process; `ray`: on workers")
    num_workers: int = Field(default=1, gt=0, description="Ray workers: one GPU each, or one CPU without GPUs")
    batch_size: int = Field(default=4, gt=0, description="source images inverted together; halves if memory runs out")
    unit_size: int = Field(default=16, gt=0, description="sources per unit, the atom of work and of retry")
    threads_per_worker: int = Field(default=1, gt=0, description="CPU threads of torch in each worker")
    max_attempts: int = Field(default=3, gt=0, description="deaths of workers after which a unit is given up")
    address: str = Field(
        default="local", description="`local` starts a Ray on this machine; `auto` or host:port joins a cluster"
    )


class UnitWorker(Protocol):
    """What a runner needs of a worker."""

    def setup(self) -> None: ...
    def run_unit(self, unit: Unit) -> UnitReport: ...


MakeWorker = Callable[[WorkerConfig], UnitWorker]


class WorkerError(RuntimeError):
    """No worker could be brought up; the message carries the worker's own error."""


class Interrupted(BaseException):
    """A signal asked this process to stop. What is committed stays; the next run goes on from there.

    Not an `Exception`, so that no per-image error handling takes it for a bad image.
    """

    def __init__(self, signum: int) -> None:
        self.signum = signum
        super().__init__(f"stopped by {signal.Signals(signum).name}")


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Turn the first SIGTERM or SIGINT into `Interrupted`; a second one has its usual, immediate effect."""
    if threading.current_thread() is not threading.main_thread():
        yield  # Python delivers signals to the main thread only
        return
    handled = (signal.SIGTERM, signal.SIGINT)
    before = {signum: signal.getsignal(signum) for signum in handled}

    def stop(signum: int, frame: FrameType | None) -> None:
        for each in handled:
            signal.signal(each, signal.SIG_DFL)
        raise Interrupted(signum)

    for signum in handled:
        signal.signal(signum, stop)
    try:
        yield
    finally:
        for signum in handled:
            signal.signal(signum, before[signum] or signal.SIG_DFL)


def run_local(
    config: WorkerConfig, units: Iterable[Unit], run: RunConfig, make_worker: MakeWorker = Worker
) -> Generator[UnitReport, None, None]:
    """Do the units one after the other in this process, and yield a report as each is committed.

    Raises:
        Interrupted: on SIGTERM or SIGINT.
    """
    with interruptible():
        worker = make_worker(config)
        worker.setup()
        for unit in units:
            yield worker.run_unit(unit)


def run_ray(
    config: WorkerConfig, units: Iterable[Unit], run: RunConfig, make_worker: MakeWorker = Worker
) -> Generator[UnitReport, None, None]:
    """Do the units on a pool of Ray actors, and yield a report as each is committed, in any order.

    A unit whose worker dies or raises goes to a fresh actor; after `run.max_attempts` of them its edits are committed
    as failed, with the last reason. Ray itself retries nothing: its own retries would not be counted.

    Raises:
        Interrupted: on SIGTERM or SIGINT.
        WorkerError: if workers cannot be set up, or there is no GPU for them.
        OSError: if a worker cannot write its part: another one could not either.
    """
    import ray

    with _ray_session(run), interruptible():
        workers = usable_workers(run, config.model.device, ray.cluster_resources())
        pool = _Pool(ray, config, run.model_copy(update={"num_workers": workers}), make_worker)
        try:
            yield from pool.work(units)
        finally:
            pool.close()


def usable_workers(run: RunConfig, device: str, resources: Mapping[str, float]) -> int:
    """How many workers a Ray with these resources can hold; on GPUs, one each.

    Raises:
        WorkerError: if they need GPUs and there is none: Ray would wait for one for ever.
    """
    if not device.startswith("cuda"):
        return run.num_workers
    gpus = int(resources.get("GPU", 0))
    if gpus == 0:
        raise WorkerError(
            f"model.device is {device!r}, but Ray has no GPU; set model.device: cpu, or run.address to a cluster that "
            "has GPUs"
        )
    if gpus < run.num_workers:
        logger.warning("run.num_workers is %d, but Ray has %d GPU(s): one worker on each", run.num_workers, gpus)
    return min(gpus, run.num_workers)


@contextlib.contextmanager
def _ray_session(run: RunConfig) -> Iterator[None]:
    """Join or start a Ray, and leave it as it was found."""
    import ray

    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # otherwise Ray warns about a coming default
    options: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    if run.address == "local":
        options |= {
            # Nothing goes through the object store, and its default share of memory is not always there.
            "object_store_memory": 100 * 2**20,
            "include_dashboard": False,
            # More workers than CPUs is slow, but a user's choice; Ray would wait for CPUs for ever.
            "num_cpus": max(run.num_workers, os.cpu_count() or 1),
        }
    ray.init(address=run.address, **options)
    try:
        yield
    finally:
        ray.shutdown()


@dataclass
class _Job:
    """What an actor is doing: setting up if `unit` is None. `attempt` counts from 1."""

    actor: Any
    unit: Unit | None
    attempt: int = 0


class _Actor:
    """A worker's life in a process of its own."""

    def __init__(self, make_worker: MakeWorker, config: WorkerConfig) -> None:
        self._worker = make_worker(config)

    def setup(self) -> None:
        self._worker.setup()

    def run_unit(self, unit: Unit) -> UnitReport:
        return self._worker.run_unit(unit)


class _Pool:
    """Actors, what they are doing, and the units that are to be done again."""

    def __init__(self, ray: Any, config: WorkerConfig, run: RunConfig, make_worker: MakeWorker) -> None:
        self._ray, self._config, self._run, self._make_worker = ray, config, run, make_worker
        self._jobs: dict[Any, _Job] = {}  # object ref -> job
        self._again: deque[tuple[Unit, int]] = deque()  # units with the attempts they had
        self._failed_setups = 0

    def work(self, units: Iterable[Unit]) -> Iterator[UnitReport]:
        fresh = iter(units)
        # No more actors than units: loading a model for nothing can take minutes.
        self._again.extend((unit, 0) for unit in itertools.islice(fresh, self._run.num_workers))
        for _ in range(len(self._again)):
            self._start_actor()
        while self._jobs:
            # A timeout, so that a signal is seen soon even where Ray waits in native code.
            ready, _ = self._ray.wait(list(self._jobs), num_returns=1, timeout=1.0)
            for ref in ready:
                job = self._jobs.pop(ref)
                report = self._collect(ref, job)
                del ref
                if report is not None:
                    yield report
                if job.actor is not None:
                    self._hand_out(job.actor, fresh)

    def _start_actor(self) -> None:
        gpu = self._config.model.device.startswith("cuda")
        resources = {"num_gpus": 1, "num_cpus": 0} if gpu else {"num_cpus": 1}
        remote = self._ray.remote(max_restarts=0, max_task_retries=0, **resources)(_Actor)
        actor = remote.remote(self._make_worker, self._config)
        self._jobs[actor.setup.remote()] = _Job(actor, None)

    def _hand_out(self, actor: Any, fresh: Iterator[Unit]) -> None:
        """The next unit to an idle actor, or its end."""
        if not self._again and (unit := next(fresh, None)) is not None:
            self._again.append((unit, 0))
        if self._again:
            unit, attempts = self._again.popleft()
            self._jobs[actor.run_unit.remote(unit)] = _Job(actor, unit, attempts + 1)
        else:
            self._ray.kill(actor)

    def _collect(self, ref: Any, job: _Job) -> UnitReport | None:
        """The report of a finished job; None after a setup, or if the unit is to be done again.

        After a failure `job.actor` is None and a fresh actor is on its way: the old one's process may be damaged.
        """
        try:
            report: UnitReport | None = self._ray.get(ref)
        except self._ray.exceptions.RayTaskError as error:
            cause = error.cause
            reason = f"{type(cause).__name__}: {cause}"
            # In the config, or in the output folder (all that a unit's images can raise, the worker has handled).
            is_mistake = isinstance(cause, ValueError if job.unit is None else OSError)
        except self._ray.exceptions.RayError:
            # Without Ray's words, which name processes and machines: the reason becomes part of the output.
            cause, reason, is_mistake = None, "the worker process died", False
        else:
            self._failed_setups = 0
            return report
        # Outside of `except`: the exception would keep the dead actor's handle, and its GPU, reserved.
        self._ray.kill(job.actor)
        job.actor = None
        if is_mistake and cause is not None:
            raise cause  # no other worker will do better
        if job.unit is None:
            self._failed_setups += 1
            if self._failed_setups > self._run.max_attempts:
                raise WorkerError(
                    f"workers cannot be set up ({self._failed_setups} attempts); the last error: {reason}"
                )
            logger.warning("a worker could not be set up, trying another: %s", reason)
            self._start_actor()
            return None
        logger.warning("unit %s, attempt %d of %d: %s", job.unit.unit_id, job.attempt, self._run.max_attempts, reason)
        self._start_actor()
        if job.attempt < self._run.max_attempts:
            self._again.append((job.unit, job.attempt))
            return None
        return give_up(self._config, job.unit, f"{job.attempt} workers died or failed on this unit; the last: {reason}")

    def close(self) -> None:
        for job in self._jobs.values():
            if job.actor is not None:
                self._ray.kill(job.actor)
        self._jobs.clear()


def give_up(config: WorkerConfig, unit: Unit, reason: str) -> UnitReport:
    """Commit a unit with all its edits failed, so that the run can end and every planned edit is accounted for.

    Returns the report that counts: a worker thought dead may have committed after all.
    """
    ledger, digest = Ledger(config.output), config.config_hash
    part, sha256 = ledger.write_part(
        unit.unit_id, failed_unit_samples(unit, digest, "worker", reason, **config.known_fields())
    )
    report = UnitReport(unit.unit_id, digest, part, sha256, unit.planned, edited=0, failed=unit.planned, seconds={})
    return ledger.commit(report)
