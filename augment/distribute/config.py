"""The `run` section, and what runners, workers and whoever watches them expect of each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field, PositiveInt

from augment.types import UnitReport, UnitTask


class RunConfig(BaseModel):
    """Who does the work, and how much of it at once. None of it changes a pixel, but `unit_size` shapes the plan."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    executor: Literal["local", "ray"] = Field(default="ray", description="`local`: in this process; `ray`: on workers")
    num_workers: PositiveInt | Literal["all"] = Field(
        default="all", description="Ray workers, one GPU each (one CPU each without GPUs); `all` that the cluster has"
    )
    batch_size: int = Field(default=4, gt=0, description="source images inverted together; halves if memory runs out")
    unit_size: int = Field(default=16, gt=0, description="sources per unit, the atom of work and of retry")
    units_in_flight: int = Field(
        default=2, gt=0, description="units a worker has at once: one reads or writes while the other is edited"
    )
    threads_per_worker: int = Field(default=1, gt=0, description="CPU threads of torch in each worker")
    max_attempts: int = Field(default=3, gt=0, description="unexplained deaths after which a unit is given up")
    address: str = Field(
        default="local",
        pattern=r"^(local|auto|.+:\d+)$",
        description="`local` starts a Ray on this machine; `auto` or host:port joins a cluster",
    )
    wait_for_workers: float = Field(
        default=1800.0, gt=0, description="seconds without a single worker after which a run on a cluster ends"
    )
    drain_seconds: float = Field(
        default=25.0, ge=0, description="after SIGTERM or SIGINT, seconds in which units in flight may finish"
    )


class WorkerSettings(Protocol):
    """What runners read of the configuration of workers; the rest is the worker's own.

    Attributes:
        output: the run's output folder or URL.
        device: `cpu` or `cuda...`: whether a worker needs a GPU.
        batch_size: sources edited together.
        config_hash: digest of the plan.
    """

    @property
    def output(self) -> str: ...
    @property
    def device(self) -> str: ...
    @property
    def batch_size(self) -> int: ...
    @property
    def config_hash(self) -> str: ...
    def known_fields(self) -> dict[str, Any]: ...


class UnitWorker(Protocol):
    """What a runner needs of a worker."""

    def setup(self) -> None: ...
    def run_unit(self, task: UnitTask) -> UnitReport: ...


MakeWorker = Callable[[Any], UnitWorker]  # of the settings that the runner was given


class Watch:
    """What a runner tells whoever watches it. Does nothing; made to be derived from."""

    def tick(self, workers: int) -> None:
        """Called about every second from the runner's loop, with the number of workers that are ready.

        What it raises ends the run.
        """

    def event(self, kind: str, content: Mapping[str, Any]) -> None:
        """Something to be kept in the run's log: a worker's death, a suspect, a quarantine."""
