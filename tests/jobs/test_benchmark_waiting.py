"""The benchmark of waiting threads, as short as it can be."""

from __future__ import annotations

import pytest

from jobs.benchmark_waiting import SPIN_COUNTS, of_processes


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_processes_at_once_answer_whatever_they_do() -> None:
    assert all(of_processes(2, spins, 0.1) > 0 for spins in SPIN_COUNTS.values())
