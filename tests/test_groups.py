"""Tests that share something expensive stay in one process."""

from __future__ import annotations

import pytest

from tests.groups import group_of


@pytest.mark.parametrize(
    ("test", "group"),
    [
        ("tests/evaluation/test_benchmark.py::test_a[x::y]", "tests/evaluation/test_benchmark.py"),
        ("tests/test_house.py::test_a", "tests/test_house.py"),
        ("tests/cli/test_status.py::test_a", "tests/cli"),
        ("tests/distribute/test_pool.py::test_a", "tests/distribute"),
        ("tests/distribute/test_ray_data.py::test_a", "tests/distribute"),  # all its tests are marked at once
        ("tests/distribute/test_local.py::test_a", "tests/distribute/test_local.py"),
    ],
)
def test_a_group_is_a_file_or_what_uses_ray_in_a_folder(test: str, group: str) -> None:
    assert group_of(test) == group
