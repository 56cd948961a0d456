"""The `run` section, and the interfaces between runners, workers and watchers of a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field, PositiveInt

from augment.types import UnitReport, UnitTask

ALL_GPUS = "cuda:all"  # the device of workers on every GPU of a machine
AUTO_LARGEST, AUTO_ON_CPU = 64, 4  # images inverted together where `run.batch_size` is auto


class RunConfig(BaseModel):
    """How the work is distributed. No setting changes a pixel; `unit_size` changes the plan."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    executor: Literal["local", "ray"] = Field(
        default="ray",
        description="`ray`: on Ray workers; `local`: without Ray, in this process, or with "
        "`model.device: cuda:all` in a process for each GPU of this machine",
    )
    num_workers: PositiveInt | Literal["all"] = Field(
        default="all",
        description="workers, one GPU each (`threads_per_worker` CPUs each without GPUs); `all` that there is room for",
    )
    gpus_per_worker: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="share of a GPU that a worker takes: with 0.5 two share one, which must have memory for both",
    )
    batch_size: PositiveInt | Literal["auto"] = Field(
        default=4,
        description="source images inverted together; halved if memory runs out. `auto`: as many as a GPU has memory "
        "for, at most unit_size; on a CPU 4",
    )
    max_edits_at_once: int | None = Field(
        default=None,
        gt=0,
        description="edits of a batch that are sampled, decoded and scored together; null: all; halved, down to "
        "batch_size, if memory runs out",
    )
    unit_size: int = Field(default=16, gt=0, description="sources per unit, the atom of work and of retry")
    units_in_flight: int = Field(
        default=2,
        gt=0,
        description="units a worker has at once: one uses the model while others read, decode or write",
    )
    threads_per_worker: int = Field(default=1, gt=0, description="CPU threads of torch in each worker")
    max_attempts: int = Field(default=3, gt=0, description="unexplained deaths after which a unit is given up")
    unit_timeout: float | None = Field(
        default=None,
        gt=0,
        description="seconds after which a worker that has not ended a unit is taken for hanging and is ended, as if "
        "it had died; null: 10 times the median unit, at least 1800",
    )
    setup_timeout: float = Field(
        default=7200.0,
        gt=0,
        description="seconds after which a worker that has not loaded its models is taken for hanging and is "
        "ended; longer than the longest download of a model",
    )
    address: str = Field(
        default="local",
        pattern=r"^(local|auto|.+:\d+)$",
        description="`local` starts a Ray on this machine; `auto` or host:port joins a cluster",
    )
    wait_for_workers: float = Field(
        default=1800.0,
        gt=0,
        description="seconds without a worker that is ready, or loads its models, after which a run ends",
    )
    drain_seconds: float = Field(
        default=25.0, ge=0, description="after SIGTERM or SIGINT, seconds in which units in flight may finish"
    )

    def first_batch_size(self, device: str) -> int:
        """Return the images that a worker inverts together as long as memory has not run out."""
        if self.batch_size != "auto":
            return self.batch_size
        # A CPU gains nothing by more, and its memory does not run out with an error that a worker could catch.
        return min(self.unit_size, AUTO_LARGEST) if device.startswith("cuda") else AUTO_ON_CPU

    @property
    def workers_per_gpu(self) -> int:
        """Return how many workers share a GPU."""
        return int(1 / self.gpus_per_worker + 1e-9)


def in_one_process(run: RunConfig, device: str) -> bool:
    """Return whether the driver's own process is the worker."""
    return run.executor == "local" and device != ALL_GPUS


def ignored_settings(run: RunConfig, device: str = "cpu") -> list[str]:
    """Return what of the section, or of `model.device`, the executor does not use although it was set, as warnings."""
    if run.executor != "local":
        if not device.startswith("cuda:") or device == ALL_GPUS:
            return []
        return [
            f"model.device is {device}, but a worker on Ray sees one GPU only, the one that Ray has given it, and uses "
            "that; write cuda, and choose GPUs by CUDA_VISIBLE_DEVICES where Ray is started"
        ]
    one = in_one_process(run, device)
    unused = ["address"]
    if one:
        unused = ["num_workers", "units_in_flight", "gpus_per_worker", "address", "wait_for_workers"]
    ignored = [
        f"run.{name} {getattr(run, name)}"
        for name in unused
        if getattr(run, name) not in (1, RunConfig.model_fields[name].default)
    ]
    if not ignored:
        return []
    where = "one worker in this process" if one else "workers on this machine"
    return [
        f"run.executor is local, {where}, which does not use {', '.join(ignored)}; set run.executor: ray, or leave "
        "them out"
    ]


class WorkerSettings(Protocol):
    """The part of the workers' configuration that runners read.

    Attributes:
        output: the run's output folder or URL.
        device: `cpu` or `cuda...`; tells whether a worker needs a GPU.
        batch_size: sources edited together.
        config_hash: hash of the settings that pixels and scores depend on.
        pixels_hash: hash of those that pixels depend on.
    """

    @property
    def output(self) -> str: ...
    @property
    def device(self) -> str: ...
    @property
    def batch_size(self) -> int: ...
    @property
    def config_hash(self) -> str: ...

    @property
    def pixels_hash(self) -> str: ...
    def known_fields(self) -> dict[str, Any]:
        """Return the fields of an `EditRecord` that every edit of the run has, also one that failed."""


class UnitWorker(Protocol):
    """A worker as a runner uses it."""

    def setup(self) -> None:
        """Load what the worker needs, once, before the first unit."""

    def run_unit(self, task: UnitTask) -> UnitReport:
        """Make and commit a unit, and return its report."""
        ...


MakeWorker = Callable[[Any], UnitWorker]  # gets the settings that the runner was given


class Watch:
    """Receives what a runner tells about its progress. This base class ignores it."""

    def tick(self, workers: int) -> None:
        """Take note of the number of workers that are ready. Called about every second; an exception ends the run."""

    def event(self, kind: str, content: Mapping[str, Any]) -> None:
        """Take note of an event for the run's log.

        Args:
            kind: name of the event, for example `worker died` or `quarantine`.
            content: more about it, as JSON.
        """
