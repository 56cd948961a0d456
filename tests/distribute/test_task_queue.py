"""What becomes of units when workers die, without any worker: the test plays them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from augment.dataset.parts import read_part
from augment.distribute.config import RunConfig, Watch
from augment.distribute.task_queue import TaskQueue
from augment.ledger.in_flight import InFlight
from augment.ledger.ledger import Ledger
from augment.ledger.plan import cut_units
from augment.types import (
    PlannedSource,
    Source,
    UnitReport,
    UnitTask,
    Variant,
)
from tests.distribute.events import Events
from tests.run.workers import worker_config

UNITS = list(
    cut_units(
        (PlannedSource(Source(f"s{i}", "", 1, 0, "fox"), "a fox", (Variant(0, "a fox at night"),)) for i in range(8)), 4
    )
)
RUN = RunConfig(max_attempts=3, batch_size=4)


def queue(out: Path, watch: Watch | None = None, **options: Any) -> TaskQueue:
    return TaskQueue(worker_config(out), iter(UNITS), RUN, watch=watch, **options)


def take(tasks: TaskQueue, idle: bool = True) -> UnitTask:
    task = tasks.next(idle)
    assert task is not None
    return task


def begin(out: Path, task: UnitTask, *keys: str, alone: bool = False, cleared: tuple[str, ...] = ()) -> None:
    """What a worker writes before it dies."""
    in_flight = InFlight(Ledger(out).store, task.unit.unit_id, task.attempt, task.in_driver)
    for key in cleared:
        in_flight.begin([key], alone=True)
        in_flight.clear(key)
    in_flight.begin(keys, alone)


def commit(out: Path, task: UnitTask, batch_size: int = 0) -> UnitReport:
    ledger, unit = Ledger(out), task.unit
    part, sha256 = ledger.write_part(unit.unit_id, [(p.source.key, {"txt": b""}) for p in unit.sources])
    return ledger.commit(UnitReport(unit.unit_id, "hash", part, sha256, 4, 4, 0, {}, batch_size=batch_size))


def test_units_are_handed_out_in_order_and_no_further_than_needed(tmp_path: Path) -> None:
    tasks = queue(tmp_path)
    assert (tasks.waiting(1), tasks.waiting(9), tasks.in_flight) == (1, 2, 0)
    first, second = take(tasks), take(tasks, idle=False)
    assert [first.unit, second.unit] == UNITS
    assert first.attempt != second.attempt
    assert (tasks.next(), tasks.waiting(1), tasks.in_flight) == (None, 0, 2)
    tasks.done(first, commit(tmp_path, first))
    assert tasks.in_flight == 1


def test_a_poison_input_is_quarantined_after_two_deaths_alone(tmp_path: Path) -> None:
    events = Events()
    tasks = queue(tmp_path, events)
    task = take(tasks)
    begin(tmp_path, task, "s0", "s1", "s2", "s3")
    assert tasks.worker_died(task, "the worker process died") is None
    task = take(tasks)
    assert (task.unit.unit_id, set(task.alone), task.quarantined) == ("u000000", {"s0", "s1", "s2", "s3"}, {})
    begin(tmp_path, task, "s2", alone=True, cleared=("s0", "s1"))
    assert tasks.worker_died(task, "the worker process died") is None
    task = take(tasks)
    assert (task.alone, task.quarantined) == (("s2", "s3"), {})  # who survived is cleared, the likeliest goes first
    begin(tmp_path, task, "s2", alone=True)
    assert tasks.worker_died(task, "the worker process died") is None
    task = take(tasks)
    assert (task.alone, task.quarantined) == (("s3",), {"s2": "killed its worker 2 times, alone"})
    tasks.done(task, commit(tmp_path, task))
    assert events.kinds == ["worker died"] * 3 + ["quarantine"]
    assert events.seen[-1][1] == {"unit": "u000000", "input": "s2"}
    later = queue(tmp_path)  # another run of the same job
    task = take(later)
    assert (task.alone, task.quarantined) == ((), {"s2": "killed its worker 2 times, alone"})


def test_more_poison_inputs_than_attempts_do_not_cost_the_unit(tmp_path: Path) -> None:
    tasks = queue(tmp_path)
    for key in ("s0", "s1", "s2"):
        for alone in (False, True, True):
            task = take(tasks)
            begin(tmp_path, task, *([key] if alone else ["s0", "s1", "s2", "s3"]), alone=alone)
            assert tasks.worker_died(task, "the worker process died") is None
    assert take(tasks).quarantined.keys() == {"s0", "s1", "s2"}


def test_unexplained_deaths_end_a_unit_image_by_image(tmp_path: Path) -> None:
    events = Events()
    tasks = queue(tmp_path, events)
    for expected in (0, 0, 1):
        task = take(tasks)
        assert (task.unit.unit_id, task.alone, task.batch_size) == ("u000000", (), expected)
        report = tasks.worker_died(task, "RuntimeError: CUDA error: an illegal memory access")
    assert report is not None
    assert (report.planned, report.edited, report.failed) == (4, 0, 4)
    assert (report.failed_by_stage, report.failed_by_class) == ({"worker": 4}, {"fox": 4})
    record, _ = next(iter(read_part(Ledger(tmp_path), report)))
    assert record.reason == (
        "3 workers died or failed on this unit; the last: RuntimeError: CUDA error: an illegal memory access"
    )
    assert events.kinds == ["worker died"] * 3 + ["given up"]
    assert Ledger(tmp_path).committed() == {"u000000": report}


def test_a_suspected_unit_waits_for_a_worker_of_its_own(tmp_path: Path) -> None:
    tasks = queue(tmp_path)
    task = take(tasks)
    begin(tmp_path, task, "s0", "s1")
    tasks.worker_died(task, "the worker process died")
    other = take(tasks, idle=False)
    assert (other.unit.unit_id, tasks.is_exclusive(other)) == ("u000001", False)
    assert tasks.next(idle=False) is None
    again = take(tasks)
    assert (again.unit.unit_id, tasks.is_exclusive(again)) == ("u000000", True)


def test_a_lost_machine_raises_no_suspicion(tmp_path: Path) -> None:
    events = Events()
    tasks = queue(tmp_path, events)
    for _ in range(5):
        task = take(tasks)
        begin(tmp_path, task, "s0", "s1")
        assert tasks.machine_lost(task) is None
    task = take(tasks, idle=False)
    assert (task.unit.unit_id, task.alone, task.batch_size, tasks.is_exclusive(task)) == ("u000000", (), 0, False)
    assert events.kinds == ["machine lost"] * 5


def test_machines_are_not_lost_for_ever(tmp_path: Path) -> None:
    tasks = queue(tmp_path)
    reports = []
    for _ in range(60):
        reports.append(tasks.machine_lost(take(tasks)))
    given_up = [report for report in reports if report is not None]
    assert {report.unit_id for report in given_up} == {"u000000", "u000001"}
    assert tasks.waiting(1) == 0


def test_who_shared_a_worker_with_a_failure_is_put_back_unsuspected(tmp_path: Path) -> None:
    tasks = queue(tmp_path)
    task = take(tasks)
    begin(tmp_path, task, "s0")
    tasks.put_back(task)
    assert tasks.in_flight == 0
    assert not list((tmp_path / "run" / "in_flight").iterdir())
    units = [take(tasks), take(tasks)]
    assert sorted((t.unit.unit_id, t.alone) for t in units) == [("u000000", ()), ("u000001", ())]


def test_a_smaller_batch_that_a_worker_found_is_what_the_next_one_starts_with(tmp_path: Path) -> None:
    events = Events()
    tasks = queue(tmp_path, events)
    task = take(tasks)
    assert task.batch_size == 0
    tasks.done(task, commit(tmp_path, task, batch_size=2))
    assert take(tasks).batch_size == 2
    assert events.seen == [("batch size", {"unit": "u000000", "batch_size": 2})]


def test_a_local_run_takes_over_what_killed_the_one_before(tmp_path: Path) -> None:
    for alone in (False, True, True):
        tasks = queue(tmp_path, in_driver=True)
        tasks.merge_in_flight()
        begin(tmp_path, take(tasks), "s1", *([] if alone else ["s0"]), alone=alone)  # and dies with it
    tasks = queue(tmp_path)
    tasks.merge_in_flight()
    task = take(tasks)
    assert (task.alone, task.quarantined) == (("s0",), {"s1": "killed its worker 2 times, alone"})


@pytest.mark.parametrize("local", [True, False])
def test_workers_that_died_with_their_driver_suspect_nobody(tmp_path: Path, local: bool) -> None:
    begin(tmp_path, take(queue(tmp_path)), "s0", alone=True)
    tasks = queue(tmp_path, in_driver=local)
    tasks.merge_in_flight() if local else tasks.discard_in_flight()
    assert (take(tasks).alone, list((tmp_path / "run" / "in_flight").iterdir())) == ((), [])


@pytest.mark.parametrize("kind", ["first", "replacing"])
def test_a_unit_given_up_too_late_keeps_what_was_committed(tmp_path: Path, kind: str) -> None:
    done = commit(tmp_path, UnitTask(UNITS[0]))
    tasks = queue(tmp_path, replaces=frozenset({"u000000"} if kind == "replacing" else ()))
    for _ in range(3):
        task = take(tasks)
        assert task.replaces == (kind == "replacing")
        report = tasks.worker_died(task, "the worker process died")
    assert report == done
    assert Ledger(tmp_path).committed() == {"u000000": done}
    assert [p.name for p in (tmp_path / "parts").iterdir()] == [done.part]
