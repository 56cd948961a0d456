"""The runner in this process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from augment.distribute.config import RunConfig
from augment.distribute.local import run_local
from augment.errors import Interrupted
from augment.ledger.ledger import Ledger
from tests.distribute.plain_worker import UNITS, plain_worker, stop_after_the_first
from tests.run.workers import worker_config


def test_local_runs_every_unit_in_order(tmp_path: Path) -> None:
    reports = list(run_local(worker_config(tmp_path), UNITS, RunConfig(), plain_worker()))
    assert [r.unit_id for r in reports] == [u.unit_id for u in UNITS]
    assert Ledger(tmp_path).committed() == {r.unit_id: r for r in reports}


def test_a_signal_during_the_last_unit_counts(tmp_path: Path) -> None:
    def be_stopped() -> None:
        for report in run_local(worker_config(tmp_path), UNITS, RunConfig(drain_seconds=60.0), plain_worker()):
            if report.unit_id == UNITS[-1].unit_id:
                (tmp_path / "attempts" / "told").touch()
                os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted, match="SIGTERM"):
        be_stopped()
    assert len(Ledger(tmp_path).committed()) == len(UNITS)


def test_a_signal_lets_units_in_flight_finish(tmp_path: Path) -> None:
    done = stop_after_the_first(run_local, tmp_path)
    assert 1 <= len(done) < 6
    assert Ledger(tmp_path).committed().keys() == set(done)
    assert len(list((tmp_path / "attempts").iterdir())) == len(done)  # none was cut off


def test_importing_the_runners_does_not_import_ray() -> None:
    code = "import sys, augment.distribute; sys.exit('ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[1]).returncode == 0
