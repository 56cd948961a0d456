"""Which tests stay in one process when several share them (`pytest -n 2`), and which of them begin first.

xdist's own groups (`--dist loadgroup`) are names that it appends to a test's id, which pytest 9.1 and later do not let
it change: all tests would be dealt out one by one, and fixtures of a file set up in every process.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

ROOT = Path(__file__).parents[1]
TOGETHER = {"tests/cli"}  # folders whose files share something expensive
LONG = {"tests/tiny", "tests/cli", "tests/run"}  # folders that take long, apart from the tests that use Ray


@functools.cache
def uses_ray(file: str) -> bool:
    """Return whether a file has tests on a real Ray."""
    return "pytest.mark.ray" in (ROOT / file).read_text()  # of a test, or of all of a file


def group_of(test: str) -> str:
    """Return the group of a test by its id: its file, or its folder, where the files that use Ray stay together."""
    file = test.partition("::")[0]
    folder = file.rpartition("/")[0]
    return folder if folder in TOGETHER or uses_ray(file) else file


class GroupScheduling(LoadScopeScheduling):
    """Deals out whole groups, in the order of the collection."""

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> GroupScheduling:
    """Deal out tests by their groups, whatever `--dist` says."""
    return GroupScheduling(config, log)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the groups begin first that take longest, so that the processes end together."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return

    def place(item: pytest.Item) -> tuple[bool, bool]:
        file = item.nodeid.partition("::")[0]
        return not uses_ray(file), file.rpartition("/")[0] not in LONG

    items.sort(key=place)
