"""Processes that share the work: what they load, and what becomes of errors, of them, and of who has started them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from augment.dataset.processes import Processes, process_count
from augment.errors import ConfigError

ROOT = Path(__file__).parents[2]


def called(run: Callable[..., Any], function: Callable[..., Any], *args: Any) -> Any:
    return run(function, *args)


def loaded(*modules: str) -> tuple[int, list[str]]:
    """The process that this is, and which modules it has once it can do the work on a dataset."""
    import augment.dataset.assembly
    import augment.dataset.verify_samples

    assert augment.dataset.assembly and augment.dataset.verify_samples
    return os.getpid(), sorted(name for name in modules if name in sys.modules)


def refuse() -> None:
    raise ConfigError("a.yaml", ["b"])


def test_they_are_others_and_load_little() -> None:
    heavy = ("torch", "ray", "pyarrow", "pydantic", "PIL.Image")
    with Processes(2) as processes:
        found = [processes.submit(called, loaded, *heavy).result() for _ in range(2)]
        assert os.getpid() not in {process for process, _ in found}
        assert [modules for _, modules in found] == [["PIL.Image"]] * 2
    with Processes(1) as processes:
        assert processes.submit(called, os.getpid).result() == os.getpid()


def test_an_error_there_is_raised_here_and_the_process_goes_on() -> None:
    with Processes(2) as processes:
        for _ in range(3):
            with pytest.raises(ConfigError, match=r"1 problem in a\.yaml"):
                processes.submit(called, refuse).result()
        assert processes.submit(called, len, "abc").result() == 3


def test_a_process_that_is_killed_is_an_error_that_says_so() -> None:
    with Processes(2) as processes:
        process = processes.submit(called, os.getpid).result()
        os.kill(process, signal.SIGKILL)
        futures = [processes.submit(called, os.getpid) for _ in range(2)]  # one of them by the one that is left
        errors = [future.exception() for future in futures]
    (error,) = filter(None, errors)
    assert isinstance(error, OSError)
    assert "has ended with -9; " in str(error) and "Run the same command again" in str(error)


def alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_they_end_with_the_process_that_has_started_them() -> None:
    code = (
        "import os, time\nfrom augment.dataset.processes import Processes\n"
        "from tests.dataset.test_processes import called\n"
        "processes = Processes(2)\n"
        "print(*{processes.submit(called, os.getpid).result() for _ in range(8)}, flush=True)\ntime.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=ROOT, text=True) as parent:
        assert parent.stdout is not None
        children = [int(word) for word in parent.stdout.readline().split()]
        assert children and all(map(alive, children))
        parent.kill()
    until = time.monotonic() + 60
    while any(map(alive, children)) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(map(alive, children))


def test_little_work_is_done_here() -> None:
    assert process_count(0) == process_count(2**20) == 1
    assert process_count(2**40) == min(8, len(os.sched_getaffinity(0)))
