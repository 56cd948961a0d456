"""The benchmark of waiting threads, as short as it can be."""

from __future__ import annotations

import pytest

from jobs.benchmark_waiting import POLICIES, of_processes


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_processes_at_once_answer_under_each_policy() -> None:
    assert all(of_processes(2, policy, 0.1) > 0 for policy in POLICIES.values())
