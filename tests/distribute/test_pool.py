"""What only Ray can show: actors that die, cannot start, lose their output, or are stopped."""

from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from augment.dataset.parts import read_part
from augment.distribute.ray_workers import run_ray
from augment.distribute.workers import PoolMember
from augment.errors import Interrupted, ModelError, UnreachableError, WorkerError
from augment.ledger.ledger import Ledger
from augment.models.config import ModelConfig
from augment.storage.local_store import LocalStore
from augment.types import UnitReport
from tests.distribute.plain_worker import (
    RAY_RUN,
    UNITS,
    Events,
    attempts,
    end_of_time,
    plain_worker,
    stop_after_the_first,
)
from tests.run.workers import worker_config


@pytest.mark.ray
@pytest.mark.timeout(90)
def test_every_unit_is_run_once_on_all_cpus_with_two_in_flight_each(ray_session: Any, tmp_path: Path) -> None:
    run = RAY_RUN.model_copy(update={"num_workers": "all", "units_in_flight": 2})
    watch = Events()
    reports = list(run_ray(worker_config(tmp_path), iter(UNITS), run, plain_worker("together"), watch=watch))
    assert sorted(r.unit_id for r in reports) == [u.unit_id for u in UNITS]
    assert Ledger(tmp_path).committed() == {r.unit_id: r for r in reports}
    pids = [attempts(tmp_path, u.unit_id) for u in UNITS]
    assert [len(p) for p in pids] == [1] * 6
    assert len({p[0] for p in pids}) == max(watch.workers) == 2


@pytest.mark.ray
@pytest.mark.timeout(90)
def test_a_unit_whose_worker_dies_is_done_elsewhere_and_one_that_always_fails_is_given_up(
    ray_session: Any, tmp_path: Path
) -> None:
    watch = Events()
    found = run_ray(worker_config(tmp_path), UNITS, RAY_RUN, plain_worker("fail"), watch=watch)
    reports = {r.unit_id: r for r in found}
    assert Ledger(tmp_path).committed() == reports
    assert reports.keys() == {u.unit_id for u in UNITS}
    assert [u for u, report in reports.items() if report.failed] == ["u000003"]
    for unit_id in ("u000001", "u000003"):
        first, second = attempts(tmp_path, unit_id)
        assert first != second, unit_id
    assert len(list((tmp_path / "parts").iterdir())) == 7  # with the orphan
    ((record, picture),) = read_part(Ledger(tmp_path), reports["u000003"])
    assert (record.key, record.status, record.stage, picture) == ("s3-v00", "failed", "worker", b"")
    error = "RuntimeError: CUDA error: an illegal memory access"
    assert record.reason == f"2 workers died or failed on this unit; the last: {error}"
    assert (record.seed, record.model_id) == (0, "embedded")
    deaths = [(c["unit"], c["reason"]) for k, c in zip(watch.kinds, watch.contents, strict=True) if k == "worker died"]
    assert sorted(deaths) == [("u000001", "the worker process died"), ("u000003", error), ("u000003", error)]
    assert sorted(set(watch.kinds)) == ["given up", "worker died"]
    assert {0, 1} <= set(watch.workers) <= {0, 1, 2}


@pytest.mark.ray
@pytest.mark.timeout(90)
def test_a_full_disk_ends_the_run_and_fails_no_unit(ray_session: Any, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space left on device") as caught:
        list(run_ray(worker_config(tmp_path), UNITS, RAY_RUN, plain_worker("disk full")))
    assert caught.value.errno == errno.ENOSPC
    assert len(attempts(tmp_path, "u000001")) == 1
    assert "u000001" not in Ledger(tmp_path).committed()


@pytest.mark.ray
@pytest.mark.timeout(90)
def test_a_gpu_that_ray_does_not_have_is_not_waited_for(ray_session: Any, tmp_path: Path) -> None:
    config = worker_config(tmp_path).model_copy(update={"model": ModelConfig(device="cuda")})
    with pytest.raises(WorkerError, match=r"model\.device is 'cuda', but Ray has no GPU; set model\.device: cpu"):
        list(run_ray(config, UNITS, RAY_RUN, plain_worker()))


@pytest.mark.ray
@pytest.mark.timeout(90)
@pytest.mark.slow
def test_workers_that_cannot_start_end_the_run(
    ray_session: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("augment.distribute.pool.BACKOFF_SECONDS", 0.1)
    once = RAY_RUN.model_copy(update={"max_attempts": 1})
    with pytest.raises(WorkerError, match=r"\([2-4] attempts\); the last error: OSError: the model's file is"):
        list(run_ray(worker_config(tmp_path), UNITS, once, plain_worker("no setup")))
    with pytest.raises(ModelError, match=r"model\.name: no such model"):
        list(run_ray(worker_config(tmp_path), UNITS, RAY_RUN, plain_worker("bad config")))
    assert Ledger(tmp_path).committed() == {}


@pytest.mark.ray
@pytest.mark.timeout(90)
@pytest.mark.slow
def test_a_bad_machine_does_not_end_a_run_that_has_good_ones_coming(
    ray_session: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("augment.distribute.pool.BACKOFF_SECONDS", 0.1)
    watch = Events()
    reports = list(run_ray(worker_config(tmp_path), UNITS, RAY_RUN, plain_worker("bad machine"), watch=watch))
    assert len(reports) == 6
    assert watch.kinds.count("setup failed") > RAY_RUN.max_attempts


@pytest.mark.ray
@pytest.mark.timeout(90)
def test_workers_that_die_when_the_run_is_stopped_are_no_inputs_fault(ray_session: Any, tmp_path: Path) -> None:
    """A signal to the process group reaches Ray's processes as well."""
    run = RAY_RUN.model_copy(update={"num_workers": 1, "units_in_flight": 2, "drain_seconds": 60.0})
    watch = Events()

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
@pytest.mark.slow
def test_an_outage_of_the_output_is_waited_for(
    ray_session: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("augment.distribute.pool.BACKOFF_SECONDS", 0.1)
    monkeypatch.setattr(LocalStore, "remove", the_driver_cannot)  # the workers are other processes
    watch = Events()
    reports = list(run_ray(worker_config(tmp_path), UNITS, RAY_RUN, plain_worker("outage"), watch=watch))
    assert [sum(r.edited for r in reports), sum(r.failed for r in reports)] == [6, 0]
    assert watch.kinds == ["not written"] * 12
    assert len({pid for unit in UNITS for pid in attempts(tmp_path, unit.unit_id)}) == 2  # nobody was replaced
    assert not (tmp_path / "run" / "suspects.json").exists()
    monkeypatch.setattr("augment.distribute.outage.OUTAGE_SECONDS", -1.0)
    with pytest.raises(OSError, match="503 Slow Down"):
        list(run_ray(worker_config(tmp_path / "again"), UNITS, RAY_RUN, plain_worker("outage")))


@pytest.mark.ray
@pytest.mark.timeout(90)
def test_a_signal_lets_units_in_flight_finish(ray_session: Any, tmp_path: Path) -> None:
    done = stop_after_the_first(run_ray, tmp_path)
    assert 1 <= len(done) < 6
    assert Ledger(tmp_path).committed().keys() == set(done)
    assert len(list((tmp_path / "attempts").iterdir())) == len(done)  # none was cut off


@pytest.mark.ray
@pytest.mark.timeout(90)
def test_a_worker_that_hangs_is_ended_and_its_input_tried_alone(
    ray_session: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch, reports = Events(), list[UnitReport]()
    end_of_time(monkeypatch, lambda: len(reports) == 5 and not watch.kinds)
    for report in run_ray(worker_config(tmp_path), UNITS, RAY_RUN, plain_worker("hang"), watch=watch):
        reports.append(report)
    assert [sum(r.edited for r in reports), sum(r.failed for r in reports)] == [6, 0]
    first, second = attempts(tmp_path, "u000001")
    assert first != second
    assert watch.kinds == ["worker hangs", "worker died"]
    assert watch.contents[0] == {"units": ["u000001"], "seconds": 0.0}
    assert (watch.contents[1]["begun"], watch.contents[1]["deaths"]) == (["s1"], 1)
    deadline = time.monotonic() + 30
    while Path(f"/proc/{first}").exists():
        assert time.monotonic() < deadline, "it still hangs"
        time.sleep(0.05)


@pytest.mark.ray
@pytest.mark.timeout(90)
def test_a_worker_that_hangs_while_it_loads_its_models_is_ended(
    ray_session: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("augment.distribute.pool.BACKOFF_SECONDS", 0.1)
    watch, run = Events(), RAY_RUN.model_copy(update={"num_workers": 1, "setup_timeout": 600.0})
    sets_up_for = PoolMember.sets_up_for

    def sets_up_for_long(member: PoolMember) -> float:
        """Nobody need wait for it: the first worker hangs once its mark is there (before, it begins with a dot)."""
        hangs = not member.ready and not watch.kinds and bool(list(tmp_path.glob("failed/[0-9]*")))
        return 1000.0 if hangs else sets_up_for(member)

    monkeypatch.setattr(PoolMember, "sets_up_for", sets_up_for_long)
    reports = list(run_ray(worker_config(tmp_path), UNITS, run, plain_worker("hanging setup"), watch=watch))
    assert [sum(r.edited for r in reports), sum(r.failed for r in reports)] == [6, 0]
    assert watch.kinds == ["setup failed"]
    assert watch.contents[0]["reason"] == "it had not loaded its models within run.setup_timeout = 600 s, and was ended"
    pids = [path.name for path in (tmp_path / "failed").iterdir()]
    assert len(pids) == 2
    deadline = time.monotonic() + 30
    while all(Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() < deadline, "it still hangs"
        time.sleep(0.05)


@pytest.mark.ray
@pytest.mark.timeout(90)
@pytest.mark.slow
def test_inputs_that_are_away_are_waited_for(ray_session: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("augment.distribute.pool.BACKOFF_SECONDS", 0.1)
    watch = Events()
    reports = list(run_ray(worker_config(tmp_path), UNITS, RAY_RUN, plain_worker("unread"), watch=watch))
    assert [sum(r.edited for r in reports), sum(r.failed for r in reports)] == [6, 0]
    assert watch.kinds == ["not read"] * 6
    monkeypatch.setattr("augment.distribute.outage.OUTAGE_SECONDS", -1.0)
    with pytest.raises(UnreachableError, match=r"503 Slow Down\. Neither this input nor those beside it could be read"):
        list(run_ray(worker_config(tmp_path / "again"), UNITS, RAY_RUN, plain_worker("unread")))


@pytest.mark.ray
@pytest.mark.timeout(90)
def test_a_worker_of_two_threads_has_two_cpus(ray_session: Any, tmp_path: Path) -> None:
    run, watch = RAY_RUN.model_copy(update={"threads_per_worker": 2}), Events()
    reports = list(run_ray(worker_config(tmp_path), UNITS, run, plain_worker(), watch=watch))
    assert len(reports) == 6
    assert max(watch.workers) == 1  # of two: Ray has two CPUs
