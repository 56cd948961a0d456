"""The protocol of the runners, with workers that write parts without a model, and die on purpose."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from augment.dataset.parts import read_part
from augment.distribute.cluster import ray_session as cluster_session
from augment.distribute.cluster import usable_workers
from augment.distribute.config import MakeWorker, RunConfig, Watch
from augment.distribute.local import run_local
from augment.distribute.pool import run_ray
from augment.distribute.signals import interruptible
from augment.errors import Interrupted, ModelError, WorkerError
from augment.ledger.ledger import Ledger
from augment.ledger.plan import cut_units
from augment.models.config import ModelConfig
from augment.run.config import WorkerConfig
from augment.storage.local_store import LocalStore
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


def plain_worker(behaviour: str = "") -> MakeWorker:
    """A worker class, made in a function so that it travels to other processes by value.

    `behaviour`: "die once" or "raise once" at unit 1, "always die", "always raise" or "disk full" at it, "die when
    told" by a file; "no setup" or "bad config"; "bad machine": the first worker is set up when three others
    could not be; "together": no unit ends before two processes have begun one.
    """

    class PlainWorker:
        def __init__(self, config: WorkerConfig) -> None:
            self.config, self.ledger = config, Ledger(config.output)

        def setup(self) -> None:
            if behaviour == "no setup":
                raise OSError("the model's file is unreadable")
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
            unit, log = task.unit, Path(self.config.output) / "attempts"
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
            if unit.unit_id == "u000001" and ("always" in behaviour or ("once" in behaviour and attempt == 0)):
                self.ledger.write_part(unit.unit_id, [("half", {"txt": b""})])  # an orphan
                if "die" in behaviour:
                    os.kill(os.getpid(), signal.SIGKILL)
                raise RuntimeError("CUDA error: an illegal memory access")
            if unit.unit_id == "u000001" and behaviour == "disk full":
                raise OSError(errno.ENOSPC, "No space left on device")
            if behaviour == "outage" and attempt < 2:
                raise OSError("503 Slow Down")
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


def test_there_are_no_more_workers_than_gpus(caplog: pytest.LogCaptureFixture) -> None:
    assert usable_workers(RAY_RUN, "cpu", {"CPU": 1.0}) == 2
    assert usable_workers(RAY_RUN, "cuda", {"CPU": 1.0, "GPU": 4.0}) == 2
    assert not caplog.records
    assert usable_workers(RAY_RUN, "cuda", {"CPU": 9.0, "GPU": 1.0}) == 1
    assert "run.num_workers is 2, but Ray has 1 GPU(s)" in caplog.text


def test_a_cluster_is_asked_for_what_it_may_get_later() -> None:
    joined = RAY_RUN.model_copy(update={"address": "auto", "num_workers": 64})
    assert usable_workers(joined, "cuda", {"CPU": 8.0}) == 64
    every = joined.model_copy(update={"num_workers": "all", "threads_per_worker": 2})
    assert [usable_workers(every, "cuda", {"GPU": gpus}) for gpus in (0.0, 3.0)] == [0, 3]
    assert [usable_workers(every, "cpu", {"CPU": cpus}) for cpus in (1.0, 8.0)] == [1, 4]


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
    with pytest.raises(ModelError, match=r"model\.name: no such model"):
        list(run_ray(worker_config(tmp_path), UNITS, RAY_RUN, plain_worker("bad config")))
    assert Ledger(tmp_path).committed() == {}


@pytest.mark.ray
@pytest.mark.timeout(90)
def test_a_bad_machine_does_not_end_a_run_that_has_good_ones_coming(
    ray_session: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("augment.distribute.pool.BACKOFF_SECONDS", 0.1)
    watch = Counting()
    reports = list(run_ray(worker_config(tmp_path), UNITS, RAY_RUN, plain_worker("bad machine"), watch=watch))
    assert len(reports) == 6
    assert watch.kinds.count("setup failed") > RAY_RUN.max_attempts


@pytest.mark.ray
@pytest.mark.timeout(90)
def test_workers_that_die_when_the_run_is_stopped_are_no_inputs_fault(ray_session: Any, tmp_path: Path) -> None:
    """A signal to the process group reaches Ray's processes as well."""
    run = RAY_RUN.model_copy(update={"num_workers": 1, "units_in_flight": 2, "drain_seconds": 60.0})
    watch = Counting()

    def be_stopped() -> None:
        for _ in run_ray(worker_config(tmp_path), UNITS, run, plain_worker("die when told"), watch=watch):
            (tmp_path / "attempts" / "told").touch()
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted, match="SIGTERM"):
        be_stopped()
    assert "u000001" not in Ledger(tmp_path).committed()
    assert watch.kinds == []


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


def the_driver_cannot(self: LocalStore, names: Iterable[str]) -> None:
    if wanted := list(names):
        raise OSError(errno.EIO, f"Input/output error: {wanted}")


@pytest.mark.ray
@pytest.mark.timeout(90)
def test_an_outage_of_the_output_is_waited_for(
    ray_session: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("augment.distribute.pool.BACKOFF_SECONDS", 0.1)
    monkeypatch.setattr(LocalStore, "remove", the_driver_cannot)  # the workers are other processes
    watch = Counting()
    reports = list(run_ray(worker_config(tmp_path), UNITS, RAY_RUN, plain_worker("outage"), watch=watch))
    assert [sum(r.edited for r in reports), sum(r.failed for r in reports)] == [6, 0]
    assert watch.kinds == ["not written"] * 12
    assert len({pid for unit in UNITS for pid in attempts(tmp_path, unit.unit_id)}) == 2  # nobody was replaced
    assert not (tmp_path / "run" / "suspects.json").exists()
    monkeypatch.setattr("augment.distribute.pool.OUTAGE_SECONDS", -1.0)
    with pytest.raises(OSError, match="503 Slow Down"):
        list(run_ray(worker_config(tmp_path / "again"), UNITS, RAY_RUN, plain_worker("outage")))


class Counting(Watch):
    def __init__(self) -> None:
        self.workers: list[int] = []
        self.kinds: list[str] = []

    def tick(self, workers: int) -> None:
        self.workers.append(workers)

    def event(self, kind: str, content: Any) -> None:
        self.kinds.append(kind)


@pytest.mark.ray
@pytest.mark.timeout(90)
def test_whoever_watches_is_told(ray_session: Any, tmp_path: Path) -> None:
    watch = Counting()
    list(run_ray(worker_config(tmp_path), UNITS, RAY_RUN, plain_worker("die once"), watch=watch))
    assert watch.kinds == ["worker died"]
    assert {0, 1} <= set(watch.workers) <= {0, 1, 2}


@pytest.mark.ray
@pytest.mark.timeout(90)
def test_a_pool_of_all_cpus_has_two_units_in_flight_each(ray_session: Any, tmp_path: Path) -> None:
    run = RAY_RUN.model_copy(update={"num_workers": "all", "units_in_flight": 2})
    watch = Counting()
    reports = list(run_ray(worker_config(tmp_path), iter(UNITS), run, plain_worker("together"), watch=watch))
    assert sorted(r.unit_id for r in reports) == [u.unit_id for u in UNITS]
    assert max(watch.workers) == 2


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
@pytest.mark.parametrize("drain_seconds", [0.0, 0.05])
def test_a_signal_becomes_an_exception_once(signum: int, code: int, drain_seconds: float) -> None:
    reached = []

    def be_stopped() -> None:
        with interruptible(drain_seconds) as stop:
            assert not stop.requested
            os.kill(os.getpid(), signum)
            reached.append(stop.requested)
            signal.pause()  # until the time is up

    before = [signal.getsignal(s) for s in (signum, signal.SIGALRM)]
    with pytest.raises(Interrupted, match="stopped by SIG") as caught:
        be_stopped()
    assert reached == ([True] if drain_seconds else [])
    assert 128 + caught.value.signum == code
    assert [signal.getsignal(s) for s in (signum, signal.SIGALRM)] == before


def test_a_signal_during_the_last_unit_counts(tmp_path: Path) -> None:
    def be_stopped() -> None:
        for report in run_local(worker_config(tmp_path), UNITS, RunConfig(drain_seconds=60.0), plain_worker()):
            if report.unit_id == UNITS[-1].unit_id:
                (tmp_path / "attempts" / "told").touch()
                os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted, match="SIGTERM"):
        be_stopped()
    assert len(Ledger(tmp_path).committed()) == len(UNITS)


def test_a_second_signal_does_not_wait() -> None:
    def be_stopped() -> None:
        with interruptible(3600.0) as stop:
            os.kill(os.getpid(), signal.SIGTERM)
            assert stop.requested
            os.kill(os.getpid(), signal.SIGINT)
            pytest.fail("went on")

    with pytest.raises(Interrupted, match="SIGINT"):
        be_stopped()
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


@pytest.mark.parametrize("executor", ["local", pytest.param("ray", marks=[pytest.mark.ray, pytest.mark.timeout(90)])])
def test_a_signal_lets_units_in_flight_finish(executor: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    if executor == "ray":
        request.getfixturevalue("ray_session")
    run = RAY_RUN.model_copy(update={"num_workers": 1, "drain_seconds": 60.0})
    done: list[str] = []

    def be_stopped() -> None:
        runner = run_ray if executor == "ray" else run_local
        for report in runner(worker_config(tmp_path), UNITS, run, plain_worker()):
            done.append(report.unit_id)
            if len(done) == 1:
                os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted, match="SIGTERM"):
        be_stopped()
    assert 1 <= len(done) < 6
    assert Ledger(tmp_path).committed().keys() == set(done)
    assert len(list((tmp_path / "attempts").iterdir())) == len(done)  # none was cut off


def test_importing_the_runners_does_not_import_ray() -> None:
    code = "import sys, augment.distribute; sys.exit('ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[1]).returncode == 0


@pytest.mark.ray
@pytest.mark.timeout(90)
def test_a_ray_that_cannot_be_joined_is_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    def refuse(**options: Any) -> None:
        raise ConnectionError(f"Could not find any running Ray instance at {options['address']}")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", refuse)
    with (
        pytest.raises(WorkerError, match=r"run\.address: 'auto': Ray could not be joined or started: Could not find"),
        cluster_session(RAY_RUN.model_copy(update={"address": "auto"})),
    ):
        pass
