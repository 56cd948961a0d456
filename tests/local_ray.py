"""A Ray on this machine for the tests of a module (to start one takes seconds), and never one that is there already.

`ray.init` without an address joins what RAY_ADDRESS names, or the machine's latest cluster, which may be the user's or
that of a test in another process.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest


def pytest_configure() -> None:
    """Forget the user's cluster, in this process and in those that tests start."""
    os.environ.pop("RAY_ADDRESS", None)
    # Ray reads this name as it is written.
    os.environ.update(RAY_memory_monitor_refresh_ms="0")  # or it kills workers when other programs fill the memory


def start_ray(**options: Any) -> Any:
    """Start a Ray of this process's own."""
    import ray

    options = {"num_cpus": 2, "num_gpus": 0, "object_store_memory": 100 * 2**20} | options
    ray.init(address="local", include_dashboard=False, log_to_driver=False, **options)
    return ray


@pytest.fixture(scope="module")
def ray_session() -> Iterator[Any]:
    """Ray with two CPUs. A runner that finds it uses it, and leaves it alone."""
    ray = start_ray()
    yield ray
    ray.shutdown()
