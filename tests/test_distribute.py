"""The protocol of the runners, with workers that write parts without a model, and die on purpose."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from augment.data.ledger import Ledger
from augment.data.parts import read_part
from augment.data.plan import cut_units
from augment.distribute import (
    Interrupted,
    MakeWorker,
    RunConfig,
    WorkerError,
    give_up,
    interruptible,
    run_local,
    run_ray,
    usable_workers,
)
from augment.models.config import ModelConfig
from augment.types import PlannedSource, Source, Unit, UnitReport, Variant
from augment.worker import WorkerConfig
from tests.test_worker import worker_config

UNITS = list(
    cut_units(
        (PlannedSource(Source(f"s{i}", "", 1, 0, "fox"), "a fox", (Variant(0, "a fox at night"),)) for i in range(6)), 1
    )
)
RAY_RUN = RunConfig(executor="ray", num_workers=2, max_attempts=2)


def plain_worker(behaviour: str = "") -> MakeWorker:
    """A worker class, made in a function so that it travels to other processes by value.

    `behaviour`: "die once" or "raise once" at unit 1, "always die", "always raise" or "disk full" at it; "no setup" or
    "bad config"; "together": no unit ends before two processes have begun one.
    """

    class PlainWorker:
        def __init__(self, config: WorkerConfig) -> None:
            self.config, self.ledger = config, Ledger(config.output)

        def setup(self) -> None:
            if behaviour == "no setup":
                raise OSError("the model's file is unreadable")
            if behaviour == "bad config":
                raise ValueError("model.name: no such model")

        def run_unit(self, unit: Unit) -> UnitReport:
            log = self.config.output / "attempts"
            log.mkdir(parents=True, exist_ok=True)
            attempt = len(list(log.glob(f"{unit.unit_id}-*")))
            (log / f"{unit.unit_id}-{attempt}-{os.getpid()}").touch()
            deadline = time.monotonic() + 60
            while behaviour == "together" and len({p.name.split("-")[2] for p in log.iterdir()}) < 2:
                if time.monotonic() > deadline:
                    raise RuntimeError("no second worker came")
                time.sleep(0.01)
            if unit.unit_id == "u000001" and ("always" in behaviour or ("once" in behaviour and attempt == 0)):
                self.ledger.write_part(unit.unit_id, [("half", {"txt": b""})])  # an orphan
                if "die" in behaviour:
                    os.kill(os.getpid(), signal.SIGKILL)
                raise RuntimeError("CUDA error: an illegal memory access")
            if unit.unit_id == "u000001" and behaviour == "disk full":
                raise OSError(errno.ENOSPC, "No space left on device")
            part, sha256 = self.ledger.write_part(unit.unit_id, [(s.source.key, {"txt": b""}) for s in unit.sources])
            plan = self.config.config_hash
            return self.ledger.commit(UnitReport(unit.unit_id, plan, part, sha256, unit.planned, unit.planned, 0, {}))

    return PlainWorker


@pytest.fixture(scope="module")
def ray_session() -> Iterator[Any]:
    import ray

    ray.init(num_cpus=2, num_gpus=0, include_dashboard=False, object_store_memory=100 * 2**20, log_to_driver=False)
    yield ray
    ray.shutdown()


def attempts(out: Path, unit_id: str) -> list[str]:
    """Process ids of the attempts at a unit."""
    return [p.name.split("-")[2] for p in sorted((out / "attempts").glob(f"{unit_id}-*"))]


def test_local_runs_every_unit_in_order(tmp_path: Path) -> None:
    reports = list(run_local(worker_config(tmp_path), UNITS, RunConfig(), plain_worker()))
    assert [r.unit_id for r in reports] == [u.unit_id for u in UNITS]
    assert Ledger(tmp_path).committed() == {r.unit_id: r for r in reports}


@pytest.mark.ray
@pytest.mark.timeout(90)
def test_ray_runs_every_unit_once_on_all_workers(ray_session: Any, tmp_path: Path) -> None:
    reports = list(run_ray(worker_config(tmp_path), iter(UNITS), RAY_RUN, plain_worker("together")))
    assert sorted(r.unit_id for r in reports) == [u.unit_id for u in UNITS]
    assert Ledger(tmp_path).committed() == {r.unit_id: r for r in reports}
    pids = [attempts(tmp_path, u.unit_id) for u in UNITS]
    assert [len(p) for p in pids] == [1] * 6
    assert len({p[0] for p in pids}) == 2


@pytest.mark.ray
@pytest.mark.timeout(90)
@pytest.mark.parametrize("behaviour", ["die once", "raise once"])
def test_a_unit_whose_worker_fails_is_done_elsewhere(ray_session: Any, tmp_path: Path, behaviour: str) -> None:
    reports = list(run_ray(worker_config(tmp_path), UNITS, RAY_RUN, plain_worker(behaviour)))
    assert sorted(r.unit_id for r in reports) == [u.unit_id for u in UNITS]
    assert sum(r.failed for r in reports) == 0
    first, second = attempts(tmp_path, "u000001")
    assert first != second
    assert len(list((tmp_path / "parts").iterdir())) == 7  # with the orphan
    assert Ledger(tmp_path).committed().keys() == {u.unit_id for u in UNITS}


@pytest.mark.ray
@pytest.mark.timeout(90)
@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        ("always die", "2 workers died or failed on this unit; the last: the worker process died"),
        (
            "always raise",
            "2 workers died or failed on this unit; the last: RuntimeError: CUDA error: an illegal memory access",
        ),
    ],
)
def test_a_unit_that_no_worker_survives_is_given_up(
    ray_session: Any, tmp_path: Path, behaviour: str, reason: str
) -> None:
    reports = {r.unit_id: r for r in run_ray(worker_config(tmp_path), UNITS, RAY_RUN, plain_worker(behaviour))}
    assert len(reports) == 6
    lost = reports["u000001"]
    assert (lost.planned, lost.edited, lost.failed) == (1, 0, 1)
    assert len(attempts(tmp_path, "u000001")) == 2
    ((record, picture),) = read_part(Ledger(tmp_path), lost)
    assert (record.key, record.status, record.stage, picture) == ("s1-v00", "failed", "worker", b"")
    assert record.reason == reason
    assert (record.seed, record.model_id) == (0, "embedded")


@pytest.mark.ray
@pytest.mark.timeout(90)
def test_a_full_disk_ends_the_run_and_fails_no_unit(ray_session: Any, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space left on device") as caught:
        list(run_ray(worker_config(tmp_path), UNITS, RAY_RUN, plain_worker("disk full")))
    assert caught.value.errno == errno.ENOSPC
    assert len(attempts(tmp_path, "u000001")) == 1
    assert "u000001" not in Ledger(tmp_path).committed()


def test_a_unit_given_up_too_late_keeps_what_was_committed(tmp_path: Path) -> None:
    config = worker_config(tmp_path)
    (done,) = run_local(config, UNITS[:1], RunConfig(), plain_worker())
    assert give_up(config, UNITS[0], "the worker process died") == done
    assert Ledger(tmp_path).committed() == {"u000000": done}
    assert [p.name for p in (tmp_path / "parts").iterdir()] == [done.part]


def test_there_are_no_more_workers_than_gpus(caplog: pytest.LogCaptureFixture) -> None:
    assert usable_workers(RAY_RUN, "cpu", {"CPU": 1.0}) == 2
    assert usable_workers(RAY_RUN, "cuda", {"CPU": 1.0, "GPU": 4.0}) == 2
    assert not caplog.records
    assert usable_workers(RAY_RUN, "cuda", {"CPU": 9.0, "GPU": 1.0}) == 1
    assert "run.num_workers is 2, but Ray has 1 GPU(s)" in caplog.text


@pytest.mark.ray
@pytest.mark.timeout(90)
def test_a_gpu_that_ray_does_not_have_is_not_waited_for(ray_session: Any, tmp_path: Path) -> None:
    config = worker_config(tmp_path).model_copy(update={"model": ModelConfig(device="cuda")})
    with pytest.raises(WorkerError, match=r"model\.device is 'cuda', but Ray has no GPU; set model\.device: cpu"):
        list(run_ray(config, UNITS, RAY_RUN, plain_worker()))


@pytest.mark.ray
@pytest.mark.timeout(90)
def test_workers_that_cannot_start_end_the_run(ray_session: Any, tmp_path: Path) -> None:
    with pytest.raises(WorkerError, match="OSError: the model's file is unreadable"):
        list(run_ray(worker_config(tmp_path), UNITS, RAY_RUN, plain_worker("no setup")))
    with pytest.raises(ValueError, match=r"model\.name: no such model"):
        list(run_ray(worker_config(tmp_path), UNITS, RAY_RUN, plain_worker("bad config")))
    assert Ledger(tmp_path).committed() == {}


@pytest.mark.ray
@pytest.mark.timeout(90)
def test_no_worker_outlives_an_abandoned_run(ray_session: Any, tmp_path: Path) -> None:
    runner = run_ray(worker_config(tmp_path), UNITS, RAY_RUN, plain_worker())
    next(runner)
    runner.close()
    pids = {int(pid) for unit in UNITS for pid in attempts(tmp_path, unit.unit_id)}
    deadline = time.monotonic() + 30
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() < deadline, f"some of {pids} still run"
        time.sleep(0.05)


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_becomes_an_exception_once(signum: int, code: int) -> None:
    def be_stopped() -> None:
        with interruptible():
            os.kill(os.getpid(), signum)
            time.sleep(10)

    before = signal.getsignal(signum)
    with pytest.raises(Interrupted, match="stopped by SIG") as caught:
        be_stopped()
    assert 128 + caught.value.signum == code
    assert signal.getsignal(signum) == before


def test_importing_the_runners_does_not_import_ray() -> None:
    code = "import sys, augment.distribute; sys.exit('ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[1]).returncode == 0
