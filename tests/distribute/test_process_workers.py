"""Workers as processes of this machine: what a pipe and a process can do to them. The pool's rules: test_pool.py."""

from __future__ import annotations

import errno
import functools
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from augment.distribute.process_workers import VISIBLE_GPUS, run_processes
from augment.errors import Interrupted, ModelError, WorkerError
from augment.ledger.ledger import Ledger
from augment.types import UnitReport, UnitTask, Variant
from tests.distribute.plain_worker import (
    RAY_RUN,
    UNITS,
    Events,
    PlainWorker,
    attempts,
    end_of_time,
    plain_worker,
    stop_after_the_first,
)
from tests.run.workers import worker_config

ROOT = Path(__file__).parents[2]
RUN = RAY_RUN.model_copy(update={"executor": "local"})
run_two = functools.partial(run_processes, places=("", ""))
pytestmark = pytest.mark.timeout(120)


def gone(pids: set[int]) -> bool:
    """Whether processes end within a wide time."""

    def lives(pid: int) -> bool:
        try:  # a process that nobody has waited for is dead, too
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        except OSError:
            return False

    deadline = time.monotonic() + 30
    while any(lives(pid) for pid in pids):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def test_every_unit_is_run_once_by_two_processes(tmp_path: Path) -> None:
    watch = Events()
    reports = list(run_two(worker_config(tmp_path), iter(UNITS), RUN, plain_worker("together"), watch=watch))
    assert sorted(r.unit_id for r in reports) == [u.unit_id for u in UNITS]
    assert Ledger(tmp_path).committed() == {r.unit_id: r for r in reports}
    pids = [attempts(tmp_path, u.unit_id) for u in UNITS]
    assert [len(p) for p in pids] == [1] * 6
    assert len({p[0] for p in pids}) == max(watch.workers) == 2
    assert str(os.getpid()) not in {p[0] for p in pids}
    assert gone({int(p[0]) for p in pids})


def test_a_unit_whose_process_dies_is_done_elsewhere_and_one_that_always_fails_is_given_up(tmp_path: Path) -> None:
    watch = Events()
    found = run_two(worker_config(tmp_path), UNITS, RUN, plain_worker("fail"), watch=watch)
    reports = {r.unit_id: r for r in found}
    assert Ledger(tmp_path).committed() == reports
    assert reports.keys() == {u.unit_id for u in UNITS}
    assert [u for u, report in reports.items() if report.failed] == ["u000003"]
    deaths = [(c["unit"], c["reason"]) for k, c in zip(watch.kinds, watch.contents, strict=True) if k == "worker died"]
    error = "RuntimeError: CUDA error: an illegal memory access"
    assert sorted(deaths) == [("u000001", "the worker process died"), ("u000003", error), ("u000003", error)]


class Placed(PlainWorker):
    """Notes the GPU that it sees."""

    def __init__(self, config: Any) -> None:
        super().__init__(config, "together")

    def run_unit(self, task: UnitTask) -> UnitReport:
        note = {"gpu": os.environ.get(VISIBLE_GPUS), "pid": os.getpid()}
        (Path(self.config.output) / f"seen-{os.getpid()}.json").write_text(json.dumps(note))
        return super().run_unit(task)


def test_each_process_sees_the_gpu_of_its_place_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VISIBLE_GPUS, "4,7")
    assert len(list(run_processes(worker_config(tmp_path), UNITS, RUN, Placed, places=("4", "7")))) == len(UNITS)
    seen = [json.loads(path.read_text()) for path in tmp_path.glob("seen-*.json")]
    assert sorted(note["gpu"] for note in seen) == ["4", "7"]
    assert os.environ[VISIBLE_GPUS] == "4,7"


def test_a_process_that_is_replaced_leaves_its_place_to_the_next(tmp_path: Path) -> None:
    places = ("",)
    reports = list(run_processes(worker_config(tmp_path), UNITS, RUN, plain_worker("fail"), places=places))
    assert len(reports) == len(UNITS)
    assert len({pid for unit in UNITS for pid in attempts(tmp_path, unit.unit_id)}) == 4  # one death, two errors


def test_a_full_disk_ends_the_run_and_fails_no_unit(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space left on device") as caught:
        list(run_two(worker_config(tmp_path), UNITS, RUN, plain_worker("disk full")))
    assert caught.value.errno == errno.ENOSPC
    assert "u000001" not in Ledger(tmp_path).committed()


def test_workers_that_cannot_start_end_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("augment.distribute.pool.BACKOFF_SECONDS", 0.1)
    once = RUN.model_copy(update={"max_attempts": 1})
    with pytest.raises(WorkerError, match=r"\([2-4] attempts\); the last error: OSError: the model's file is"):
        list(run_two(worker_config(tmp_path), UNITS, once, plain_worker("no setup")))
    with pytest.raises(ModelError, match=r"model\.name: no such model"):
        list(run_two(worker_config(tmp_path), UNITS, RUN, plain_worker("bad config")))
    assert Ledger(tmp_path).committed() == {}


class Odd(PlainWorker):
    """Fails with an error that no other process can make again: it cannot be pickled."""

    def __init__(self, config: Any) -> None:
        super().__init__(config, "")

    def run_unit(self, task: UnitTask) -> UnitReport:
        raise self.error_type()("the flux is inverted")

    def error_type(self) -> type[Exception]:
        class OddError(Exception):
            pass

        return OddError


class Foreign(Odd):
    """Fails with an error that can be pickled, of a module that the worker alone has."""

    def error_type(self) -> type[Exception]:
        module: Any = sys.modules.setdefault("of_the_worker", ModuleType("of_the_worker"))
        module.OddError = type("OddError", (Exception,), {"__module__": "of_the_worker"})
        found: type[Exception] = module.OddError
        return found


@pytest.mark.parametrize("worker", [Odd, Foreign])
def test_an_error_that_cannot_travel_is_told_in_words_and_where_it_was(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, worker: type[PlainWorker]
) -> None:
    watch = Events()
    reports = list(run_two(worker_config(tmp_path), UNITS[:1], RUN, worker, watch=watch))
    assert [(r.edited, r.failed) for r in reports] == [(0, 1)]
    assert {c["reason"] for c in watch.contents} >= {"RuntimeError: OddError: the flux is inverted"}
    assert any("in run_unit" in message and "the flux is inverted" in message for message in caplog.messages)


def test_a_process_that_hangs_is_ended_and_its_input_tried_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch, reports = Events(), list[UnitReport]()
    end_of_time(monkeypatch, lambda: len(reports) == 5 and not watch.kinds)
    for report in run_two(worker_config(tmp_path), UNITS, RUN, plain_worker("hang"), watch=watch):
        reports.append(report)
    assert [sum(r.edited for r in reports), sum(r.failed for r in reports)] == [6, 0]
    first, second = attempts(tmp_path, "u000001")
    assert first != second and gone({int(first)})
    assert watch.kinds == ["worker hangs", "worker died"]


def test_a_signal_lets_units_in_flight_finish(tmp_path: Path) -> None:
    done = stop_after_the_first(run_two, tmp_path)
    assert 1 <= len(done) < 6
    assert Ledger(tmp_path).committed().keys() == set(done)
    assert len(list((tmp_path / "attempts").iterdir())) == len(done)  # none was cut off


def test_processes_let_a_signal_to_their_group_pass_and_the_driver_decide(tmp_path: Path) -> None:
    run = RUN.model_copy(update={"drain_seconds": 60.0})

    def be_stopped() -> None:
        for _ in run_two(worker_config(tmp_path), UNITS, run, plain_worker("together")):
            for pid in {int(p.name.split("-")[2]) for p in (tmp_path / "attempts").iterdir()}:
                os.kill(pid, signal.SIGTERM)
                os.kill(pid, signal.SIGINT)
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted, match="SIGTERM"):
        be_stopped()
    begun = [p.name.split("-")[0] for p in (tmp_path / "attempts").iterdir()]
    assert sorted(begun) == sorted(Ledger(tmp_path).committed())


class Frozen(PlainWorker):
    """Stops its whole process at unit 1, once: it reads nothing any more, and answers nothing."""

    def __init__(self, config: Any) -> None:
        super().__init__(config, "")

    def run_unit(self, task: UnitTask) -> UnitReport:
        if task.unit.unit_id == "u000001" and self.ledger.store.create("failed/frozen", b""):
            os.kill(os.getpid(), signal.SIGSTOP)
        return super().run_unit(task)


def test_a_driver_does_not_wait_for_a_frozen_process_to_read_its_tasks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tasks of more bytes than fit into the pipe."""
    much = (Variant(0, "a fox " + "in the snow " * 100_000),)
    units = [replace(unit, sources=tuple(replace(source, variants=much) for source in unit.sources)) for unit in UNITS]
    run, watch, frozen = RUN.model_copy(update={"units_in_flight": 4}), Events(), tmp_path / "failed" / "frozen"
    # A second later: by then it would wait for the pipe.
    end_of_time(monkeypatch, lambda: frozen.exists() and time.time() - frozen.stat().st_mtime > 1 and not watch.kinds)
    reports = list(run_processes(worker_config(tmp_path), units, run, Frozen, places=("",), watch=watch))
    assert watch.kinds[0] == "worker hangs"
    assert [sum(r.edited for r in reports), sum(r.failed for r in reports)] == [6, 0]


DRIVER = """
import sys
from pathlib import Path
from augment.distribute.process_workers import run_processes
from tests.distribute.plain_worker import UNITS, plain_worker
from tests.distribute.test_process_workers import RUN
from tests.run.workers import worker_config

if __name__ == "__main__":
    reports = run_processes(worker_config(Path({out!r})), UNITS, RUN, plain_worker("hang"), places=("", ""))
    print(next(reports).unit_id, flush=True)
    if sys.argv[1:] == ["abandon"]:
        raise ValueError("forgotten")
    print(len(list(reports)))
"""


def test_a_driver_that_forgets_its_workers_ends(tmp_path: Path) -> None:
    script = tmp_path / "driver.py"
    script.write_text(DRIVER.format(out=str(tmp_path / "out")))
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, script, "abandon"], env=environment, capture_output=True, timeout=90)
    assert done.returncode == 1 and b"forgotten" in done.stderr
    assert gone({int(pid) for unit in UNITS for pid in attempts(tmp_path / "out", unit.unit_id)})


def test_no_process_outlives_a_driver_that_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "driver.py"
    script.write_text(DRIVER.format(out=str(tmp_path / "out")))
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, script], env=environment, stdout=subprocess.PIPE, text=True) as driver:
        assert driver.stdout is not None
        driver.stdout.readline()  # a unit is done
        deadline = time.monotonic() + 60
        while not attempts(tmp_path / "out", "u000001"):  # the one that hangs
            assert time.monotonic() < deadline
            time.sleep(0.05)
        driver.kill()
    pids = {int(pid) for unit in UNITS for pid in attempts(tmp_path / "out", unit.unit_id)}
    assert gone(pids), f"some of {pids} still run"
