"""Settings every test runs under: no network, no telemetry, one thread per process. Nothing heavy is imported here."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

pytest_plugins = ["tests.local_ray", "tests.object_store"]

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
# Read by torch when it is imported: tests compare floats, and several processes share two cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

LONG = ("tiny", "cli", "run")  # folders whose tests take long, apart from those that use Ray


@pytest.hookimpl(wrapper=True)  # xdist, registered later, would be first among those that are not, and miss the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Iterator[None]:
    """For `pytest -n 2 --dist loadgroup`: a file stays in one process, and so do the files of a folder that use Ray.

    Files that share something expensive name a group of their own. What takes longest is handed out first, so that the
    processes end together.
    """
    ray = {item.path for item in items if item.get_closest_marker("ray")}
    for item in items:
        if not item.get_closest_marker("xdist_group"):
            item.add_marker(pytest.mark.xdist_group(str(item.path.parent if item.path in ray else item.path)))
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=lambda item: (item.path not in ray, item.path.parent.name not in LONG))
    return (yield)
