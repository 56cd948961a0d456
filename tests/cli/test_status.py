"""`augment status` on runs that are finished, stopped, at work, or on an object store."""

from __future__ import annotations

import json
import re
from pathlib import Path

from augment.ledger.lease import SECONDS
from augment.ledger.ledger import Ledger
from augment.run.status import status
from augment.storage.resolve import open_store
from tests.cli.invoke import (
    answer,
)
from tests.run.runs import (
    commit_of,
    written,
)


def test_status_of_a_finished_run(out: Path) -> None:
    content = answer("status", out)
    assert (content["state"], content["driver"], content["units"], content["units_done"]) == ("finished", "", 4, 4)
    assert (content["planned"], content["done"], content["edited"], content["failed"]) == (16, 16, 16, 0)
    verified = answer("verify", out)
    assert content["published"]["accepted"] == verified["accepted"]
    assert content["rejected_by_reason"] == content["published"]["reasons"]
    assert 0 <= content["heartbeat_seconds"] < 86_400


def test_status_of_a_run_that_was_stopped(copy: Path) -> None:
    commit_of(copy, 2).unlink()
    stopped = status(copy)
    assert (stopped.state, stopped.units_done, stopped.counts["done"], stopped.verdicts) == ("interrupted", 3, 12, None)
    said = json.loads((copy / "run" / "status.json").read_text())
    (copy / "run" / "status.json").write_text(json.dumps(said | {"state": "failed"}))
    assert status(copy).state == "failed"


def test_status_of_a_folder_in_use(copy: Path) -> None:
    commit_of(copy, 2).unlink()
    said = json.loads((copy / "run" / "status.json").read_text())
    now = {"state": "running", "edits_per_second": 0.5, "eta_seconds": 8.0, "workers": 3, "time": said["time"] - 3600}
    (copy / "run" / "status.json").write_text(json.dumps(said | now))
    with Ledger(copy).lock():
        before = written(copy)
        running = status(copy)
        assert written(copy) == before
    assert running.state == "running"
    assert re.match(r"process \d+ on ", running.driver)
    counts = running.counts
    assert (counts["done"], counts["edits_per_second"], counts["eta_seconds"], counts["workers"]) == (12, 0.5, 8.0, 3)
    assert running.heartbeat_seconds is not None
    assert running.heartbeat_seconds >= 3600
    assert "speed           0.5 edits/s, 3 workers, 8 s left" in running.lines()
    assert status(copy).state == "interrupted"  # released


def test_a_lease_that_nobody_renews_is_nobodys(copy: Path) -> None:
    commit_of(copy, 2).unlink()
    (lease,) = (copy / "run").glob("lease-*.json")
    held = json.loads(lease.read_text()) | {"released": False, "host": "elsewhere"}
    lease.write_text(json.dumps(held | {"renewed": held["renewed"] + 3600}))
    assert status(copy).state == "running"
    lease.write_text(json.dumps(held | {"renewed": held["renewed"] - 2 * SECONDS - 600}))
    assert status(copy).state == "interrupted"


def test_status_names_inputs_in_quarantine(copy: Path) -> None:
    (copy / "run" / "suspects.json").write_text(json.dumps({"b": 2, "a": 3, "c": 1}))
    assert status(copy).quarantined == ("a", "b")
    assert "quarantined     a, b" in status(copy).lines()


def test_status_of_an_object_store(out: Path) -> None:
    store = open_store("memory://commands/out")
    for path in (p for p in out.rglob("*") if p.is_file() and "preview" not in p.parts):
        store.write(str(path.relative_to(out)), path.read_bytes())
    here, there = status(out).as_dict(), status("memory://commands/out").as_dict()
    assert there.pop("out") == "memory://commands/out"
    assert there.pop("heartbeat_seconds") >= 0
    assert there == {key: value for key, value in here.items() if key not in ("out", "heartbeat_seconds")}
