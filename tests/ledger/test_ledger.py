from __future__ import annotations

import dataclasses
import json
import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from augment.errors import OutputError
from augment.ledger.ledger import Ledger
from augment.ledger.plan import Plan, cut_units
from augment.storage.tar import iter_tar, sha256_file
from augment.types import UnitReport
from tests.dataset.parts import CLASS_NAMES, FINGERPRINT, commit_unit, finished_ledger, planned_sources, publish


def report_of(part: str, sha256: str) -> UnitReport:
    return UnitReport("u000000", "pixels", part, sha256, planned=1, edited=1, failed=0, seconds={})


def plan_of(ledger: Ledger) -> Plan:
    plan = ledger.read_plan()
    assert plan is not None
    return plan


def test_plan_is_read_back_as_written(tmp_path: Path) -> None:
    units = list(cut_units(planned_sources(5), 2))
    plan = Ledger(tmp_path).write_plan(FINGERPRINT, units, CLASS_NAMES)
    assert Ledger(tmp_path).read_plan() == plan
    assert list(Ledger(tmp_path).units()) == units
    assert (plan.units, plan.sources, plan.planned, plan.class_names) == (3, 5, 10, CLASS_NAMES)
    Ledger(tmp_path).check_pixels(plan, FINGERPRINT)  # a tuple in the config is a list in the file: no difference


def test_units_over_several_files_keep_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("augment.ledger.plan_files.UNITS_PER_FILE", 2)
    units = list(cut_units(planned_sources(5), 1))
    plan = Ledger(tmp_path).write_plan(FINGERPRINT, units, CLASS_NAMES)
    assert sorted(p.name for p in (tmp_path / "plan").iterdir()) == [
        "plan.json",
        f"units-{plan.digest}-000000.jsonl",
        f"units-{plan.digest}-000001.jsonl",
        f"units-{plan.digest}-000002.jsonl",
    ]
    assert list(Ledger(tmp_path).units()) == units


def test_a_new_plan_replaces_the_old_one_whose_units_stay_until_they_are_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("augment.ledger.plan_files.UNITS_PER_FILE", 2)
    Ledger(tmp_path).write_plan(FINGERPRINT, cut_units(planned_sources(5), 1), CLASS_NAMES)
    plan = Ledger(tmp_path).write_plan(FINGERPRINT | {"seed": 1}, cut_units(planned_sources(2), 1), CLASS_NAMES)
    assert Ledger(tmp_path).read_plan() == plan
    assert (plan.units, plan.fingerprint["seed"]) == (2, 1)
    assert list(Ledger(tmp_path).units()) == list(cut_units(planned_sources(2), 1))
    assert len(list(Ledger(tmp_path).units_of_all_plans())) == 5 + 2
    Ledger(tmp_path).forget_other_plans(plan)
    assert list(Ledger(tmp_path).units_of_all_plans()) == list(Ledger(tmp_path).units())


def test_what_is_done_of_an_old_plan_stays_until_it_is_forgotten(tmp_path: Path) -> None:
    ledger = finished_ledger(tmp_path)
    before = ledger.committed()
    plan = ledger.write_plan(FINGERPRINT | {"input.count": 2}, cut_units(planned_sources(2), 2), CLASS_NAMES)
    assert ledger.recover() == before
    ledger.forget_other_plans(plan)
    assert ledger.committed() == {"u000000": before["u000000"]}
    assert parts(ledger) == {before["u000000"].part}


def test_a_driver_killed_before_the_head_is_written_leaves_the_old_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = finished_ledger(tmp_path)
    plan, units = ledger.read_plan(), list(ledger.units())
    grown = FINGERPRINT | {"input.count": 6}
    with monkeypatch.context() as patch:
        patch.setattr("augment.ledger.plan_files.plan_to_json", lambda _: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            ledger.write_plan(grown, cut_units(planned_sources(6), 2), CLASS_NAMES)
    assert (ledger.read_plan(), list(ledger.units()), len(ledger.recover())) == (plan, units, 3)
    again = ledger.write_plan(grown, cut_units(planned_sources(6), 2), CLASS_NAMES)
    assert [unit.unit_id for unit in ledger.units()] == list(again.unit_ids)


@pytest.mark.parametrize("content", ["{", "[]", '{"format": 2}', '{"format": 2, "class_names": []}'])
def test_no_plan_is_none_and_a_ruined_one_an_error(tmp_path: Path, content: str) -> None:
    assert Ledger(tmp_path / "missing").read_plan() is None
    (tmp_path / "plan").mkdir()
    (tmp_path / "plan" / "plan.json").write_text(content)
    with pytest.raises(OutputError, match=r"plan\.json is not readable"):
        Ledger(tmp_path).read_plan()


@pytest.mark.parametrize(
    "line", ["{", "[]", '{"unit_id": "u000001"}', '{"unit_id": "u1", "sources": [{"source": {}}]}']
)
def test_a_ruined_unit_is_an_error(tmp_path: Path, line: str) -> None:
    ledger = finished_ledger(tmp_path)
    (path,) = (tmp_path / "plan").glob("units-*-000000.jsonl")
    path.write_text(path.read_text().splitlines()[0] + "\n" + line)
    with pytest.raises(OutputError, match=r"-000000\.jsonl: line 2 is not readable"):
        list(ledger.units())


@pytest.mark.parametrize("content", ['{"unit_id": "u0', "[]", '{"unit_id": "u000001"}'])
def test_a_ruined_commit_is_an_error_that_says_what_to_delete(tmp_path: Path, content: str) -> None:
    ledger = finished_ledger(tmp_path)
    (tmp_path / "commits" / "u000001.json").write_text(content)
    with pytest.raises(OutputError, match=r"u000001\.json is not readable .*Delete it and run `augment expand` again"):
        ledger.recover()


def test_a_number_where_a_commit_has_words(tmp_path: Path) -> None:
    ledger = finished_ledger(tmp_path)
    path = tmp_path / "commits" / "u000001.json"
    path.write_text(json.dumps(json.loads(path.read_bytes()) | {"part": 3}))
    with pytest.raises(OutputError, match=r"u000001\.json is not readable \(TypeError: part is 3\)"):
        ledger.committed()


def test_resume_with_other_settings_shows_the_difference(tmp_path: Path) -> None:
    ledger = finished_ledger(tmp_path)
    with pytest.raises(OutputError, match=r"seed: 0 in the plan, 1 now") as caught:
        ledger.check_pixels(plan_of(ledger), FINGERPRINT | {"seed": 1, "input.count": 7})
    assert "input.count" not in str(caught.value)  # a dataset may grow


def test_a_folder_with_foreign_shards_is_not_taken_over(tmp_path: Path) -> None:
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "train-000000.tar").write_bytes(b"x")
    with pytest.raises(OutputError, match=r"already has shards, but no plan"):
        Ledger(tmp_path).write_plan(FINGERPRINT, [], CLASS_NAMES)


def test_commits_without_their_plan_are_not_taken_over(tmp_path: Path) -> None:
    ledger = finished_ledger(tmp_path)
    for path in (tmp_path / "plan").iterdir():
        path.unlink()
    with pytest.raises(OutputError, match=r"has commits/, but no plan\. Restore plan/"):
        ledger.write_plan(FINGERPRINT, [], CLASS_NAMES)
    assert len(ledger.committed()) == 3


@pytest.fixture(params=["local", "s3"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Ledger:
    """An empty folder, once on each kind of store."""
    return Ledger(tmp_path if request.param == "local" else request.getfixturevalue("object_store")())


def parts(ledger: Ledger) -> set[str]:
    return {name.removeprefix("parts/") for name in ledger.store.list("parts")}


def two_attempts(ledger: Ledger) -> list[tuple[str, str]]:
    return [ledger.write_part("u000000", [("a", {"txt": text})]) for text in (b"first", b"second")]


def test_only_the_first_of_two_attempts_counts(ledger: Ledger) -> None:
    first, second = two_attempts(ledger)
    assert first[0] != second[0]
    assert ledger.commit(report_of(*first)) == report_of(*first)
    assert ledger.commit(report_of(*second)) == report_of(*first)
    assert ledger.committed() == {"u000000": report_of(*first)}
    assert parts(ledger) == {first[0]}  # the loser cleaned up after itself
    assert list(ledger.store.list("commits")) == ["commits/u000000.json"]


def test_one_of_many_attempts_at_the_same_moment_counts(ledger: Ledger) -> None:
    start = threading.Barrier(6)

    def attempt(number: int) -> UnitReport:
        report = report_of(*ledger.write_part("u000000", [("a", {"txt": str(number).encode()})]))
        start.wait()
        return ledger.commit(report)

    with ThreadPoolExecutor(6) as pool:
        (winner,) = {report.part for report in pool.map(attempt, range(6))}
    assert ledger.report_of("u000000").part == winner
    assert parts(ledger) == {winner}


@pytest.mark.parametrize("ruin", ["no part", "not readable"])
def test_a_commit_that_counts_for_nothing_is_replaced(ledger: Ledger, ruin: str) -> None:
    first, second = two_attempts(ledger)
    ledger.commit(report_of(*first))
    if ruin == "no part":
        ledger.store.remove([f"parts/{first[0]}"])
    if ruin == "not readable":
        ledger.store.write("commits/u000000.json", b"{")
    assert ledger.commit(report_of(*second)) == report_of(*second)
    assert ledger.committed() == {"u000000": report_of(*second)}
    assert second[0] in parts(ledger)
    assert list(ledger.store.list("commits")) == ["commits/u000000.json"]


def test_a_unit_that_is_done_again_on_purpose_replaces_its_commit(tmp_path: Path) -> None:
    ledger = finished_ledger(tmp_path)
    before = ledger.committed()
    again = dataclasses.replace(before["u000001"], part=ledger.write_part("u000001", [("a", {"txt": b"x"})])[0])
    assert ledger.commit(again) == before["u000001"]
    again = dataclasses.replace(before["u000001"], part=ledger.write_part("u000001", [("a", {"txt": b"x"})])[0])
    assert ledger.commit(again, replaces=True) == again
    assert ledger.recover() == before | {"u000001": again}
    part = ledger.write_part("u000001", [("a", {"txt": b"x"})])[0]
    worse = dataclasses.replace(again, part=part, edited=again.edited - 1, failed=again.failed + 1)
    assert ledger.commit(worse, replaces=True) == again  # as when the input cannot be read now
    assert parts(ledger) == {report.part for report in ledger.committed().values()}


def test_another_plan_begins_without_suspects(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.store.write("run/suspects.json", b'{"00_fox": 2}')
    ledger.store.write("run/in_flight/u000000-a.json", b"{}")
    ledger.write_plan(FINGERPRINT, cut_units(planned_sources(2), 2), CLASS_NAMES)
    assert not ledger.store.exists("run/suspects.json")
    assert ledger.store.list("run/in_flight") == {}


def test_part_is_what_was_hashed(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    name, sha256 = ledger.write_part("u000000", [("a", {"txt": b"x"})])
    assert sha256_file(tmp_path / "parts" / name) == sha256
    assert list(iter_tar(tmp_path / "parts" / name)) == [("a", {"txt": b"x"})]


def test_recover_sweeps_orphans_and_takes_back_commits_without_part(tmp_path: Path) -> None:
    ledger = finished_ledger(tmp_path)
    done = ledger.committed()
    ledger.write_part("u000000", [("orphan", {"txt": b"x"})])
    (tmp_path / "parts" / f".u000001-x.tar.{'12' * 16}.tmp").write_bytes(b"half")
    for folder in ("", "run", "plan", "commits"):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / f".x.{'12' * 16}.tmp").write_bytes(b"half")
    (tmp_path / "parts" / done["u000002"].part).unlink()
    recovered = ledger.recover()
    assert sorted(recovered) == ["u000000", "u000001"]
    assert sorted(ledger.committed()) == ["u000000", "u000001"]
    assert {p.name for p in (tmp_path / "parts").iterdir()} == {r.part for r in recovered.values()}
    assert {p.name for p in (tmp_path / "commits").iterdir()} == {"u000000.json", "u000001.json"}
    assert not list(tmp_path.rglob(".*.tmp"))


def test_recover_does_not_take_all_work_back_when_the_parts_were_deleted(tmp_path: Path) -> None:
    ledger = finished_ledger(tmp_path)
    publish(ledger)
    shutil.rmtree(tmp_path / "parts")
    with pytest.raises(OutputError, match="3 finished units and a published dataset, but no parts/"):
        ledger.recover()
    assert len(ledger.committed()) == 3


def test_recovered_unit_can_be_committed_again(tmp_path: Path) -> None:
    ledger = finished_ledger(tmp_path)
    plan = plan_of(ledger)
    before = ledger.committed()["u000001"]
    (tmp_path / "parts" / before.part).unlink()
    ledger.recover()
    after = commit_unit(ledger, plan, list(ledger.units())[1])
    assert after.sha256 == before.sha256
    assert ledger.committed()["u000001"] == after


def test_two_drivers_on_one_folder(tmp_path: Path) -> None:
    with (
        Ledger(tmp_path).lock(),
        pytest.raises(OutputError, match=rf"being written by another run \(process {os.getpid()} on "),
        Ledger(tmp_path).lock(),
    ):
        pass
    with Ledger(tmp_path).lock():  # free again
        pass


def test_unwritable_output(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    ledger = Ledger(tmp_path / "file" / "out")
    with pytest.raises(OutputError, match=r"file/out cannot be written \(Not a directory\)"), ledger.lock():
        pass


def test_run_file_that_says_the_same_is_left_alone(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.write_run_file("env.json", {"a": 1})
    before = (tmp_path / "run" / "env.json").stat()
    ledger.write_run_file("env.json", {"a": 1})
    assert (tmp_path / "run" / "env.json").stat().st_ino == before.st_ino
    ledger.write_run_file("env.json", {"a": 2})
    assert (tmp_path / "run" / "env.json").stat().st_ino != before.st_ino


def test_a_replacing_commit_whose_part_was_swept_does_not_count(tmp_path: Path) -> None:
    """A worker outlived its driver, and the next driver took its part for an orphan."""
    ledger = Ledger(tmp_path)
    first = ledger.commit(report_of(*ledger.write_part("u000000", [("a", {"txt": b"1"})])))
    late = report_of(*ledger.write_part("u000000", [("a", {"txt": b"2"})]))
    (tmp_path / "parts" / late.part).unlink()
    assert ledger.commit(late, replaces=True) == first
    assert ledger.report_of("u000000") == first
    assert ledger.has_part(first)
