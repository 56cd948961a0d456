"""Workers without a model that write parts, and die or fail on purpose, for the tests of the runners."""

from __future__ import annotations

import errno
import functools
import os
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from augment.distribute.config import MakeWorker, RunConfig, Watch
from augment.distribute.unit_clock import UnitClock
from augment.errors import Interrupted, ModelError, UnreachableError
from augment.ledger.in_flight import InFlight
from augment.ledger.ledger import Ledger
from augment.ledger.plan import cut_units
from augment.run.worker_config import WorkerConfig
from augment.types import (
    PlannedSource,
    Source,
    UnitReport,
    UnitTask,
    Variant,
)
from tests.run.workers import worker_config

UNITS = list(
    cut_units(
        (PlannedSource(Source(f"s{i}", "", 1, 0, "fox"), "a fox", (Variant(0, "a fox at night"),)) for i in range(6)), 1
    )
)
RAY_RUN = RunConfig(executor="ray", num_workers=2, max_attempts=2, units_in_flight=1)


class PlainWorker:
    """A worker that does as it is told.

    `behaviour`: "fail": die once at unit 1, and raise at unit 3 always; "disk full" at unit 1, "die when told" by a
    file at it; "outage": no unit can be written twice; "no setup" or "bad config"; "bad machine": the first worker is
    set up when three others could not be; "hanging setup" of the first worker; "together": no unit ends before two
    processes have begun one; "hang" once at unit 1; "unread": the inputs of no unit can be read at first.
    """

    def __init__(self, config: WorkerConfig, behaviour: str) -> None:
        self.config, self.behaviour, self.ledger = config, behaviour, Ledger(config.output)

    def setup(self) -> None:
        behaviour = self.behaviour
        if behaviour == "no setup":
            raise OSError("the model's file is unreadable")
        if behaviour == "hanging setup":
            self.ledger.store.create(f"failed/{os.getpid()}", b"")
            if len(self.ledger.store.list("failed")) == 1:
                time.sleep(1000)
        if behaviour == "bad machine":
            store = self.ledger.store
            if not store.create("failed/first", b""):
                store.write(f"failed/{os.getpid()}", b"")
                raise OSError("no such device")
            deadline = time.monotonic() + 60
            while len(store.list("failed")) < 4 and time.monotonic() < deadline:
                time.sleep(0.01)
        if behaviour == "bad config":
            raise ModelError("model.name: no such model")

    def run_unit(self, task: UnitTask) -> UnitReport:
        behaviour, unit, log = self.behaviour, task.unit, Path(self.config.output) / "attempts"
        log.mkdir(parents=True, exist_ok=True)
        attempt = len(list(log.glob(f"{unit.unit_id}-*")))
        (log / f"{unit.unit_id}-{attempt}-{os.getpid()}").touch()
        deadline = time.monotonic() + 60
        while behaviour == "together" and len({p.name.split("-")[2] for p in log.iterdir()}) < 2:
            if time.monotonic() > deadline:
                raise RuntimeError("no second worker came")
            time.sleep(0.01)
        if unit.unit_id == "u000001" and behaviour == "die when told":
            while not (log / "told").exists():
                if time.monotonic() > deadline:
                    raise RuntimeError("nobody told")
                time.sleep(0.01)
            os.kill(os.getpid(), signal.SIGKILL)
        if behaviour == "fail" and unit.unit_id == "u000001" and attempt == 0:
            self.ledger.write_part(unit.unit_id, [("half", {"txt": b""})])  # an orphan
            os.kill(os.getpid(), signal.SIGKILL)
        if behaviour == "fail" and unit.unit_id == "u000003":
            raise RuntimeError("CUDA error: an illegal memory access")
        if unit.unit_id == "u000001" and behaviour == "disk full":
            raise OSError(errno.ENOSPC, "No space left on device")
        if behaviour == "hang" and unit.unit_id == "u000001" and attempt == 0:
            InFlight(self.ledger.store, unit.unit_id, task.attempt).begin(["s1"])
            time.sleep(1000)
        if behaviour == "unread" and attempt < 1:
            raise UnreachableError("s3://bucket/s.png: 503 Slow Down")
        if behaviour == "outage" and attempt < 2:
            raise OSError("503 Slow Down")
        part, sha256 = self.ledger.write_part(unit.unit_id, [(s.source.key, {"txt": b""}) for s in unit.sources])
        pixels = self.config.pixels_hash
        return self.ledger.commit(UnitReport(unit.unit_id, pixels, part, sha256, unit.planned, unit.planned, 0, {}))


def plain_worker(behaviour: str = "") -> MakeWorker:
    """What makes a `PlainWorker`, here or in another process."""
    return functools.partial(PlainWorker, behaviour=behaviour)


def attempts(out: Path, unit_id: str) -> list[str]:
    """Process ids of the attempts at a unit."""
    return [p.name.split("-")[2] for p in sorted((out / "attempts").glob(f"{unit_id}-*"))]


class Events(Watch):
    """What a runner tells whoever watches it."""

    def __init__(self) -> None:
        self.workers: list[int] = []
        self.kinds: list[str] = []
        self.contents: list[Mapping[str, Any]] = []

    def tick(self, workers: int) -> None:
        self.workers.append(workers)

    def event(self, kind: str, content: Mapping[str, Any]) -> None:
        self.kinds.append(kind)
        self.contents.append(content)


def end_of_time(monkeypatch: pytest.MonkeyPatch, has_come: Callable[[], bool]) -> None:
    """Let the time of units be over when something has come, not after seconds that a busy machine may need as well."""
    limit: Any = UnitClock.limit
    monkeypatch.setattr(UnitClock, "limit", property(lambda clock: 0.0 if has_come() else limit.fget(clock)))


def stop_after_the_first(runner: Any, out: Path) -> list[str]:
    """Let SIGTERM reach this process when the first unit is done; return the units that were done when it ended."""
    run = RAY_RUN.model_copy(update={"num_workers": 1, "drain_seconds": 60.0})
    done: list[str] = []

    def be_stopped() -> None:
        for report in runner(worker_config(out), UNITS, run, plain_worker()):
            done.append(report.unit_id)
            if len(done) == 1:
                os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted, match="SIGTERM"):
        be_stopped()
    return done
