"""A worker in a process of its own, as a Ray actor, and what the driver knows about it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import ray

from augment.distribute.config import MakeWorker, RunConfig, WorkerSettings
from augment.distribute.metrics import WorkerMetrics
from augment.distribute.notices import collect_warnings
from augment.types import UnitReport, UnitTask


class WorkerActor:
    """Runs a worker in a process of its own."""

    def __init__(self, make_worker: MakeWorker, config: WorkerSettings) -> None:
        self._warnings = collect_warnings()
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


@dataclass
class PoolMember:
    """Hold what the driver knows about an actor.

    Attributes:
        actor: its handle.
        beginning: object ref of the answer that its process is there.
        setup: object ref of its setup; None once that has ended.
        alive_since: when that answer came (monotonic seconds); infinity before.
        machine: id of its machine; "" until the setup has ended.
        paused_until: when it may get a unit again (monotonic seconds), after files of one could not be read or written.
        tasks: the units it has, by object ref.
        began: when it got each of them (monotonic seconds), by object ref.
    """

    actor: Any
    beginning: Any
    setup: Any
    alive_since: float = float("inf")
    machine: str = ""
    paused_until: float = 0.0
    tasks: dict[Any, UnitTask] = field(default_factory=dict)
    began: dict[Any, float] = field(default_factory=dict)

    @property
    def ready(self) -> bool:
        return self.setup is None

    def sets_up_for(self) -> float:
        """Return the seconds for which its process is there and not ready; 0 if it is, or is not there yet."""
        return 0.0 if self.ready else max(0.0, time.monotonic() - self.alive_since)

    def give(self, task: UnitTask, now: float) -> Any:
        """Hand a unit to the actor; return the object ref of its report."""
        ref = self.actor.run_unit.remote(task)
        self.tasks[ref], self.began[ref] = task, now
        return ref

    def oldest(self) -> float:
        """Return when it got the unit that it has had for longest; infinity if it has none."""
        return min((self.began[ref] for ref in self.tasks), default=float("inf"))


def start_actor(config: WorkerSettings, run: RunConfig, make_worker: MakeWorker) -> PoolMember:
    """Start an actor, which sets its worker up at once.

    It reserves one GPU, which it sees as the only one; or, without GPUs, a CPU for each of its threads.
    """
    gpu = config.device.startswith("cuda")
    resources = {"num_gpus": 1, "num_cpus": 0} if gpu else {"num_cpus": run.threads_per_worker}
    remote = ray.remote(max_restarts=0, max_task_retries=0, max_concurrency=run.units_in_flight, **resources)
    actor = remote(WorkerActor).remote(make_worker, config)
    return PoolMember(actor, actor.begin.remote(), actor.setup.remote())  # an actor's calls begin in this order
