"""The diagnosis as a whole: which checks it makes, what it says, and what becomes of a check that fails or hangs."""

from __future__ import annotations

import json
import sys
import threading
from pathlib import Path

from augment.doctor import (
    Check,
    CheckStatus,
    Diagnosis,
    diagnose,
    lines,
)
from augment.doctor.check import Finding, Probe

OF_THE_MACHINE = ("packages", "gpu", "disk", "temporary folder")  # of which the one that runs the tests may lack some


def test_a_healthy_machine_has_no_problem_and_nothing_is_left_behind(tmp_path: Path) -> None:
    diagnosis = diagnose(str(tmp_path / "new" / "out"))
    problems = [check for check in diagnosis.checks if check.status is CheckStatus.PROBLEM]
    assert [check for check in problems if check.name not in OF_THE_MACHINE] == []
    assert diagnosis.ok == (not problems)
    assert [check.name for check in diagnosis.checks] == [
        *("python", "packages", "known problems", "torch", "gpu", "cpus", "memory", "disk", "temporary folder"),
        *("shared memory", "open files", "model cache", "ray token", "ray address", "output"),
    ]
    assert all(bool(check.advice) == (check.status is not CheckStatus.OK) for check in diagnosis.checks)
    assert list(tmp_path.iterdir()) == []


def test_what_is_said_and_what_is_json() -> None:
    diagnosis = Diagnosis(
        (
            Check("cpus", CheckStatus.OK, "2"),
            Check("memory", CheckStatus.WARNING, "1.0 GiB free", "fewer workers"),
            Check("output", CheckStatus.PROBLEM, "OSError: no space", "delete something"),
        )
    )
    assert lines(diagnosis) == [
        "ok       cpus              2",
        "warning  memory            1.0 GiB free",
        "                           -> fewer workers",
        "problem  output            OSError: no space",
        "                           -> delete something",
        "1 problems, 1 warnings, 1 ok",
    ]
    assert not diagnosis.ok
    as_json = json.loads(json.dumps(diagnosis.as_dict()))
    assert as_json["ok"] is False
    assert as_json["checks"][1] == {
        "name": "memory",
        "status": "warning",
        "found": "1.0 GiB free",
        "advice": "fewer workers",
    }


def test_a_check_that_raises_or_hangs_is_a_problem() -> None:
    def exits() -> Finding:
        sys.exit("a\nlibrary gave up")

    assert Probe("x", exits, "try again").make() == Check(
        "x", CheckStatus.PROBLEM, "SystemExit: a library gave up", "try again"
    )
    forever = threading.Event()
    hanging = Probe("x", lambda: Finding(CheckStatus.OK, str(forever.wait())), "try again", seconds=0.05)
    assert hanging.make() == Check("x", CheckStatus.PROBLEM, "no answer within 0.05 s", "try again")
    forever.set()
