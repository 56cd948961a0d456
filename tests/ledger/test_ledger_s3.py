"""The books on an object store, when it fails or answers late."""

from __future__ import annotations

import pytest

from augment.errors import OutputError
from augment.ledger.ledger import Ledger
from augment.ledger.plan import cut_units
from tests.dataset.parts import (
    CLASS_NAMES,
    FINGERPRINT,
    commit_unit,
    finished_ledger,
    planned_sources,
)
from tests.object_store import Fault, FreshUrl


def test_plan_and_commits_are_read_back(object_store: FreshUrl, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("augment.ledger.plan_files.UNITS_PER_FILE", 2)
    url = object_store()
    assert Ledger(url).read_plan() is None
    units = list(cut_units(planned_sources(5), 1))
    plan = Ledger(url).write_plan(FINGERPRINT | {"seed": 1}, units, CLASS_NAMES)
    plan = Ledger(url).write_plan(FINGERPRINT, units[:3], CLASS_NAMES)
    assert Ledger(url).read_plan() == plan
    assert list(Ledger(url).units()) == units[:3]
    report = commit_unit(Ledger(url), plan, units[1])
    assert Ledger(url).committed() == {"u000001": report}
    assert len(list(Ledger(url).units_of_all_plans())) == 5 + 3
    grown = Ledger(url).write_plan(FINGERPRINT | {"seed": 2}, units[2:], CLASS_NAMES)
    Ledger(url).forget_other_plans(grown)
    assert list(Ledger(url).units_of_all_plans()) == units[2:]
    assert Ledger(url).committed() == {}
    assert Ledger(url).store.list("parts") == {}


def test_recover(object_store: FreshUrl) -> None:
    ledger = finished_ledger(object_store())
    done = ledger.committed()
    ledger.write_part("u000000", [("orphan", {"txt": b"x"})])
    ledger.store.remove([f"parts/{done['u000002'].part}"])
    assert ledger.recover() == {unit_id: done[unit_id] for unit_id in ("u000000", "u000001")} == ledger.committed()
    assert list(ledger.store.list("parts")) == sorted(f"parts/{done[u].part}" for u in ("u000000", "u000001"))


@pytest.mark.parametrize("replaces", [False, True])
def test_a_commit_whose_answer_was_lost(object_store: FreshUrl, faults: list[Fault], replaces: bool) -> None:
    """The client asks a second time and is told that there is one: its own."""
    ledger = finished_ledger(object_store(), count=2)
    (report,) = ledger.committed().values()
    ledger.store.remove(["commits/u000000.json"])
    faults.append(Fault("PUT", "u000000.json", carried_out=True))
    assert ledger.commit(report, replaces) == report
    assert faults[0].times == 0
    assert ledger.committed() == {"u000000": report}
    assert ledger.has_part(report)


def test_an_upload_that_fails_half_way_leaves_nothing(object_store: FreshUrl, faults: list[Fault]) -> None:
    ledger = Ledger(object_store())
    plan = ledger.write_plan(FINGERPRINT, cut_units(planned_sources(2), 2), CLASS_NAMES)
    (unit,) = ledger.units()
    faults.append(Fault("PUT", ".tar", "403 Forbidden", "AccessDenied"))
    with pytest.raises(PermissionError):
        commit_unit(ledger, plan, unit)
    assert ledger.store.list("parts") == ledger.store.list("commits") == {}
    report = commit_unit(ledger, plan, unit)
    assert ledger.committed() == {"u000000": report}


def test_a_bucket_that_is_not_there(object_store: FreshUrl) -> None:
    object_store()
    ledger = Ledger("s3://no-such-bucket/out")
    with pytest.raises(OutputError, match=r"output\.path: s3://no-such-bucket/out cannot be written"), ledger.lock():
        pass


def test_events_are_written_when_the_lock_ends(object_store: FreshUrl) -> None:
    ledger = Ledger(object_store())
    with ledger.lock():
        ledger.log.add("unit", {"unit_id": "u000000"})
        assert not [name for name in ledger.store.list("run") if "events" in name]
    (log,) = [name for name in ledger.store.list("run") if "events" in name]
    assert b'"unit_id": "u000000"' in ledger.store.read(log)
