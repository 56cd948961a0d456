"""What a worker warns about, and how the driver tells it."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from augment.distribute.config import RunConfig, ignored_settings, in_one_process
from augment.distribute.notices import MOST, Teller, WarningCollector
from augment.distribute.process_workers import run_processes
from augment.distribute.ray_workers import run_ray
from augment.errors import ModelError
from tests.distribute.plain_worker import RAY_RUN, UNITS
from tests.distribute.warning_worker import warning_worker
from tests.run.workers import worker_config


@pytest.fixture
def collected() -> Iterator[tuple[logging.Logger, WarningCollector]]:
    """A logger whose warnings are collected."""
    source, collector = logging.getLogger("tests.notices"), WarningCollector()
    source.propagate = False
    source.addHandler(collector)
    yield source, collector
    source.removeHandler(collector)


def test_each_distinct_warning_is_taken_once(collected: tuple[logging.Logger, WarningCollector]) -> None:
    source, collector = collected
    source.info("nothing to say")
    for number in (1, 2, 1):
        source.warning("tensor %d is odd", number)
    assert collector.take() == ("tensor 1 is odd", "tensor 2 is odd")
    source.warning("tensor 2 is odd")
    source.error("worse")
    assert collector.take() == ("worse",)
    for number in range(2 * MOST):
        source.warning("odd %d", number)
    assert len(collector.take()) == MOST - 3


def test_warnings_of_many_workers_are_told_once(caplog: pytest.LogCaptureFixture) -> None:
    teller = Teller()
    for _ in range(3):
        teller.tell(["odd", "strange"])
    assert caplog.messages == ["a worker: odd", "a worker: strange"]
    teller.tell(f"odd {i}" for i in range(2 * MOST))
    assert len(caplog.messages) == MOST + 1
    assert "workers have more warnings" in caplog.messages[-1]


def test_a_workers_process_collects_what_libraries_and_python_warn_about() -> None:
    code = (
        "import logging, warnings\nfrom augment.distribute.notices import collect_warnings, warnings_to_stderr\n"
        "library = logging.getLogger('transformers')\nlibrary.propagate = False\ncollector = collect_warnings()\n"
        "warnings_to_stderr()\n"
        "logging.getLogger('transformers.models').warning('from a library')\n"
        "logging.getLogger('augment.run').warning('from us')\nwarnings.warn('from Python', stacklevel=1)\n"
        "taken = collector.take()\nassert len(taken) == 3, taken\n"
        "assert taken[:2] == ('from a library', 'from us') and 'UserWarning: from Python' in taken[2]\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "from us" in done.stderr  # in Ray's file of the worker as well


@pytest.mark.timeout(120)
def test_warnings_of_processes_reach_the_user(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    run = RAY_RUN.model_copy(update={"executor": "local"})
    assert len(list(run_processes(worker_config(tmp_path), UNITS, run, warning_worker(), places=("", "")))) == 6
    told = [message for message in caplog.messages if message.startswith("a worker: ")]
    assert sorted(told) == ["a worker: some weights are odd", *(f"a worker: unit {u.unit_id} is odd" for u in UNITS)]
    assert "odd" not in capfd.readouterr().err  # not beside the progress of the run
    with pytest.raises(ModelError, match="no such model"):
        list(run_processes(worker_config(tmp_path), UNITS, run, warning_worker("bad config"), places=("",)))
    assert caplog.messages.count("a worker: some weights are odd") == 2


@pytest.mark.ray
@pytest.mark.timeout(120)
def test_warnings_of_workers_reach_the_user(ray_session: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    reports = list(run_ray(worker_config(tmp_path), UNITS, RAY_RUN, warning_worker()))
    assert len(reports) == len(UNITS)
    told = [message for message in caplog.messages if message.startswith("a worker: ")]
    assert sorted(told) == ["a worker: some weights are odd", *(f"a worker: unit {u.unit_id} is odd" for u in UNITS)]


@pytest.mark.ray
@pytest.mark.timeout(120)
@pytest.mark.slow
def test_warnings_of_a_worker_that_fails_reach_the_user_too(
    ray_session: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(ModelError, match="no such model"):
        list(run_ray(worker_config(tmp_path), UNITS, RAY_RUN, warning_worker("bad config")))
    assert caplog.messages.count("a worker: some weights are odd") == 1


def test_what_the_local_executor_does_not_use_is_said() -> None:
    local = RunConfig(executor="local")
    assert ignored_settings(local) == ignored_settings(RunConfig(num_workers=3)) == []
    assert ignored_settings(local.model_copy(update={"num_workers": 1, "batch_size": 9})) == []
    (warning,) = ignored_settings(local.model_copy(update={"num_workers": 3, "address": "auto"}))
    assert "one worker in this process, which does not use run.num_workers 3, run.address auto; set" in warning
    (warning,) = ignored_settings(local.model_copy(update={"num_workers": 3, "address": "auto"}), "cuda:all")
    assert "workers on this machine, which does not use run.address auto; set run.executor: ray" in warning
    assert ignored_settings(RunConfig(), "cuda:all") == []


@pytest.mark.parametrize(
    ("run", "device", "alone"),
    [
        ({"executor": "local"}, "cpu", True),
        ({"executor": "local", "num_workers": 1}, "cuda:1", True),
        ({"executor": "local", "num_workers": 2}, "cpu", True),
        ({"executor": "local"}, "cuda:all", False),
        ({"executor": "ray", "num_workers": 1}, "cpu", False),
    ],
)
def test_where_the_drivers_own_process_is_the_worker(run: dict[str, Any], device: str, alone: bool) -> None:
    assert in_one_process(RunConfig(**run), device) is alone


def test_the_number_of_a_gpu_means_nothing_to_a_worker_on_ray() -> None:
    assert ignored_settings(RunConfig(), "cuda") == ignored_settings(RunConfig(executor="local"), "cuda:1") == []
    (warning,) = ignored_settings(RunConfig(), "cuda:1")
    assert warning.startswith("model.device is cuda:1, but a worker on Ray sees one GPU only")


@pytest.mark.parametrize(
    ("given", "unit_size", "device", "expected"),
    [(7, 16, "cuda", 7), ("auto", 16, "cpu", 4), ("auto", 16, "cuda", 16), ("auto", 200, "cuda:1", 64)],
)
def test_where_the_batch_size_begins(given: int | str, unit_size: int, device: str, expected: int) -> None:
    run = RunConfig.model_validate({"batch_size": given, "unit_size": unit_size})
    assert run.first_batch_size(device) == expected
