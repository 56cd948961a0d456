"""Commits of workers that outlived their driver, beside a published dataset; and a plan that is read back."""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path

import pytest

from augment.errors import OutputError
from augment.ledger.ledger import Ledger
from augment.ledger.plan import config_hash_of, fingerprint_difference
from augment.ledger.report import report_to_json
from augment.run.finalize import finalize
from augment.types import Unit, UnitReport
from tests.memory_store import Killed
from tests.run.growing import GrowingJob
from tests.run.runs import published


@pytest.fixture
def job(tmp_path: Path) -> GrowingJob:
    """A published dataset."""
    made = GrowingJob(tmp_path)
    made.options = {"variants_per_image": 2, "run.unit_size": 2, "run.batch_size": 2}
    for seed in range(8):
        made.add(("fox", "owl")[seed % 2], f"{seed:03}", seed)
    made.expand()
    return made


def killed_growth(job: GrowingJob, monkeypatch: pytest.MonkeyPatch) -> Unit:
    """Plan more images, and die; return a unit that a worker has."""
    had: list[Unit] = []

    def dies(todo, *_):  # type: ignore[no-untyped-def]
        had.extend(todo.units())
        raise Killed

    job.add("fox", "100", 100)
    with monkeypatch.context() as patch:
        patch.setattr("augment.run.expand._run", dies)
        with pytest.raises(Killed):
            job.expand()
    return had[0]


def swept_attempt(job: GrowingJob, unit: Unit) -> UnitReport:
    """The report of a worker whose part the next driver has removed."""
    ledger = Ledger(job.out)
    like = next(iter(ledger.committed().values()))
    part, sha256 = ledger.write_part(unit.unit_id, [("a", {"png": b"x"})])
    with ledger.lock():
        ledger.recover()
    report = dataclasses.replace(like, unit_id=unit.unit_id, part=part, sha256=sha256)
    assert not ledger.has_part(report)
    return report


def test_a_part_that_was_swept_is_not_committed(job: GrowingJob, monkeypatch: pytest.MonkeyPatch) -> None:
    unit = killed_growth(job, monkeypatch)
    report = swept_attempt(job, unit)
    with pytest.raises(OutputError, match=rf"parts/{report.part} is gone, so its unit is not done"):
        Ledger(job.out).commit(report)
    assert unit.unit_id not in Ledger(job.out).committed()


@pytest.mark.parametrize("other_plan", [False, True])
def test_a_commit_without_a_part_that_was_never_published(
    job: GrowingJob, monkeypatch: pytest.MonkeyPatch, other_plan: bool
) -> None:
    unit = killed_growth(job, monkeypatch)
    report, store = swept_attempt(job, unit), Ledger(job.out).store
    store.write(f"commits/{unit.unit_id}.json", report_to_json(report))  # between the question and the removal
    if other_plan:
        job.options["variants_per_image"] = 3
    assert job.counts()[1] == 16
    with pytest.raises(OutputError, match=r"units are not done\. Run `augment expand`"):
        finalize(job.out)
    assert store.exists(f"commits/{unit.unit_id}.json")  # finalize removes nothing
    assert job.expand().edits_made == (11 if other_plan else 2)
    assert published(job.out) == job.fresh()


def test_published_parts_that_are_lost_in_a_growth_that_was_killed(
    job: GrowingJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    (part, *_) = sorted((job.out / "parts").iterdir())
    data = part.read_bytes()
    stray = swept_attempt(job, killed_growth(job, monkeypatch))
    Ledger(job.out).store.write(f"commits/{stray.unit_id}.json", report_to_json(stray))
    part.unlink()
    for again in (job.expand, job.counts, partial(finalize, job.out)):
        with pytest.raises(OutputError, match=r"2 of \d finished units have lost their part") as caught:
            again()
        assert part.name in str(caught.value)
    part.write_bytes(data)
    assert job.expand().edits_made == 2


def test_the_order_of_keys_inside_a_list_is_no_difference() -> None:
    old = {"editing.candidates.settings": [{"strength": 0.5, "guidance_scale": None}], "seed": 0}
    new = {"seed": 0, "editing.candidates.settings": ({"guidance_scale": None, "strength": 0.5},)}
    assert fingerprint_difference(old, new) == []
    assert config_hash_of(old) == config_hash_of(new)
    (line,) = fingerprint_difference(old, new | {"editing.candidates.settings": [{"strength": 0.6}]})
    assert line.endswith("[{'guidance_scale': None, 'strength': 0.5}] in the plan, [{'strength': 0.6}] now")
