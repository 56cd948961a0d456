"""The runner for clusters: workers as Ray actors, one per GPU, started and lost with the machines of the cluster."""

from __future__ import annotations

from collections.abc import Container, Generator, Iterable, Sequence
from typing import Any

import ray

from augment.distribute.cluster import ray_session, usable_workers
from augment.distribute.config import MakeWorker, RunConfig, Watch, WorkerSettings
from augment.distribute.metrics import WorkerMetrics
from augment.distribute.notices import collect_warnings, warnings_to_stderr
from augment.distribute.pool import WorkerPool
from augment.distribute.signals import interruptible
from augment.distribute.task_queue import TaskQueue
from augment.distribute.workers import Ended, PoolMember
from augment.types import Unit, UnitReport, UnitTask

FETCH_SECONDS = 10.0  # within which an actor whose worker failed must say what it was warned about


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

    What becomes of a unit whose worker dies, raises or hangs, and what is raised, is said in `WorkerPool.work`. Ray's
    own retries are off, because they could not be counted.

    Args:
        config: the settings of the workers.
        units: the units to do.
        run: the `run` section.
        make_worker: makes a worker from `config`, in its actor.
        replaces: ids of units whose commit is to be replaced.
        watch: is told how many workers are ready, and of every event.
    """
    watch = watch or Watch()
    with ray_session(run), interruptible(run.drain_seconds) as stop:
        queue = TaskQueue(config, units, run, replaces, watch)
        pool = WorkerPool(RayWorkers(config, run, make_worker), config.output, run, queue, watch, stop)
        yield from pool.work()


class RayWorkers:
    """Workers as actors of a Ray. A call is the object ref of its result.

    Args:
        config, run, make_worker: as in `run_ray`.
    """

    advice = "does the cluster have machines with what a worker needs? `ray status` says what it has"

    def __init__(self, config: WorkerSettings, run: RunConfig, make_worker: MakeWorker) -> None:
        self._config, self._run, self._make_worker = config, run, make_worker

    def wanted(self) -> int:
        """Return how many actors the cluster, as it is now, has room for."""
        return usable_workers(self._run, self._config.device, ray.cluster_resources())

    def start(self) -> PoolMember:
        """Start an actor, which sets its worker up at once.

        It reserves `run.gpus_per_worker` of a GPU, which it sees as the only one; or, without GPUs, a CPU for each of
        its threads.
        """
        run, gpu = self._run, self._config.device.startswith("cuda")
        resources = (
            {"num_gpus": run.gpus_per_worker, "num_cpus": 0} if gpu else {"num_cpus": float(run.threads_per_worker)}
        )
        remote = ray.remote(max_restarts=0, max_task_retries=0, max_concurrency=run.units_in_flight, **resources)
        actor = remote(WorkerActor).remote(self._make_worker, self._config)
        # An actor's calls begin in this order.
        return PoolMember(actor, actor.run_unit.remote, actor.begin.remote(), actor.setup.remote())

    def wait(self, calls: Sequence[Any], seconds: float) -> list[Any]:
        """Return those of the calls that have ended."""
        # With a timeout, because Ray waits in native code, where a signal is not handled.
        ready, rest = ray.wait(list(calls), num_returns=1, timeout=seconds)
        if rest and ready:
            ready += ray.wait(rest, num_returns=len(rest), timeout=0)[0]
        return list(ready)

    def ended(self, member: PoolMember, call: Any) -> Ended:
        """Return how a call ended."""
        try:
            result, warnings = ray.get(call)
        except ray.exceptions.RayTaskError as error:
            return Ended(cause=error.cause)
        except ray.exceptions.RayError as error:
            return Ended(died=True, machine_lost=_machine_lost(member, error))
        return Ended(result, tuple(warnings))

    def take_warnings(self, member: PoolMember) -> tuple[str, ...]:
        """Return what an actor has not told yet: a call that raises returns no warnings, and they explain it best."""
        try:
            return tuple(ray.get(member.handle.take_warnings.remote(), timeout=FETCH_SECONDS))
        except ray.exceptions.RayError:  # it has died meanwhile; Ray's file of the worker has them
            return ()

    def end(self, member: PoolMember) -> None:
        """End an actor."""
        ray.kill(member.handle)


class WorkerActor:
    """Runs a worker in a process of its own."""

    def __init__(self, make_worker: MakeWorker, config: WorkerSettings) -> None:
        self._warnings = collect_warnings()
        warnings_to_stderr()  # into Ray's file of this worker
        self._worker = make_worker(config)

    def begin(self) -> None:
        """Do nothing: the answer says that the process is there."""

    def setup(self) -> tuple[str, tuple[str, ...]]:
        """Load the models; return the id of the machine, and what was warned about."""
        self._worker.setup()
        self._metrics = WorkerMetrics()
        self._metrics.observe_memory()
        return str(ray.get_runtime_context().get_node_id()), self._warnings.take()

    def run_unit(self, task: UnitTask) -> tuple[UnitReport, tuple[str, ...]]:
        """Return the report of a unit, and what was warned about."""
        report = self._worker.run_unit(task)
        self._metrics.observe(report)
        self._metrics.observe_memory()
        return report, self._warnings.take()

    def take_warnings(self) -> tuple[str, ...]:
        """Return what was warned about since a call returned last."""
        return self._warnings.take()


def _machine_lost(member: PoolMember, error: Exception) -> bool:
    """Return whether an actor died because its whole machine was lost."""
    if getattr(error, "preempted", False) or "node has died" in str(error):
        return True
    alive = {node["NodeID"] for node in ray.nodes() if node["Alive"]}
    return bool(member.machine) and member.machine not in alive
