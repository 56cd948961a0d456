"""When the pool gives up because no worker is ever ready. With workers that do as a table says, without processes."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from augment.distribute.config import RunConfig, Watch
from augment.distribute.pool import WorkerPool
from augment.distribute.signals import StopRequest
from augment.distribute.task_queue import TaskQueue
from augment.distribute.workers import Ended, PoolMember
from augment.errors import ModelError, WorkerError
from tests.distribute.plain_worker import UNITS
from tests.run.workers import worker_config

pytestmark = pytest.mark.timeout(60)


class Failing:
    """Two workers at a time, whose setups end one after the other, as `outcome` says: one is always loading."""

    advice = "ask somebody"

    def __init__(self, outcome: Ended) -> None:
        self.outcome, self.numbers = outcome, itertools.count()
        self.loading: list[int] = []
        self.started = 0

    def wanted(self) -> int:
        return 2

    def start(self) -> PoolMember:
        number = next(self.numbers)
        self.started += 1
        self.loading.append(number)
        return PoolMember(number, lambda task: None, ("begin", number), ("setup", number), alive_since=time.monotonic())

    def wait(self, calls: Sequence[Any], seconds: float) -> list[Any]:
        time.sleep(0.01)
        if len(self.loading) < 2:
            return []
        return [("setup", self.loading[0])]

    def ended(self, member: PoolMember, call: Any) -> Ended:
        return self.outcome

    def take_warnings(self, member: PoolMember) -> tuple[str, ...]:
        return ()

    def end(self, member: PoolMember) -> None:
        self.loading.remove(member.handle)


def work(out: Path, workers: Failing, **changes: Any) -> None:
    run = RunConfig(max_attempts=2).model_copy(update=changes)
    config = worker_config(out)
    queue = TaskQueue(config, UNITS, run)
    list(WorkerPool(workers, config.output, run, queue, Watch(), StopRequest()).work())


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("augment.distribute.pool.BACKOFF_SECONDS", 0.01)
    monkeypatch.setattr("augment.distribute.pool.SCALE_SECONDS", 0.01)


def test_setups_that_fail_in_turn_end_the_run_although_one_is_always_loading(tmp_path: Path) -> None:
    workers = Failing(Ended(cause=OSError("the model's file is unreadable")))
    with pytest.raises(WorkerError, match=r"\(7 attempts\); the last error: OSError: the model's file is unreadable"):
        work(tmp_path, workers)
    assert workers.started == 8  # one more was loading: max_attempts for each of the two, and for the run


def test_what_the_user_has_to_solve_is_raised_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such model"):
        work(tmp_path, Failing(Ended(cause=ModelError("no such model"))))


def test_machines_that_are_lost_while_they_load_are_no_workers(tmp_path: Path) -> None:
    workers = Failing(Ended(died=True, machine_lost=True))
    with pytest.raises(WorkerError, match=r"no worker was ready within run\.wait_for_workers = 1 s; ask somebody"):
        work(tmp_path, workers, wait_for_workers=0.6, setup_timeout=0.6)
    assert workers.started > 10


def test_a_model_that_loads_for_longer_than_workers_are_waited_for_is_no_missing_worker(tmp_path: Path) -> None:
    """It ends by its own limit."""
    workers = Failing(Ended())
    workers.wanted = lambda: 1  # type: ignore[method-assign]  # nobody's setup ends
    with pytest.raises(WorkerError, match=r"it had not loaded its models within run\.setup_timeout"):
        work(tmp_path, workers, wait_for_workers=0.1, setup_timeout=0.5)
