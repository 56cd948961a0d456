"""One worker with the embedded models: what it commits, and that nothing but the unit decides about the bytes."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from augment.dataset.parts import read_reconstructions
from augment.dataset.record import EDITED
from augment.errors import OutputError
from augment.ledger.ledger import Ledger
from augment.run.editor import DiffusionEditor, load_editor
from augment.run.simulate import SimulatedEditor
from augment.run.worker import Worker
from augment.storage.tar import sha256_file
from augment.types import Unit, UnitTask
from tests.run.workers import SOURCES, TASK, UNIT, make_worker, planned, records, worker_config


@pytest.fixture(scope="module")
def editor(tmp_path_factory: pytest.TempPathFactory) -> DiffusionEditor:
    return load_editor(worker_config(tmp_path_factory.mktemp("editor")))


@pytest.fixture
def worker(tmp_path: Path, editor: DiffusionEditor) -> Worker:
    return make_worker(worker_config(tmp_path), lambda _: editor)


def test_a_unit_is_edited_scored_and_committed(worker: Worker, tmp_path: Path) -> None:
    report = worker.run_unit(TASK)
    assert Ledger(tmp_path).committed() == {"u000000": report}
    assert (report.planned, report.edited, report.failed, report.inverted) == (8, 8, 0, 4)
    assert sha256_file(tmp_path / "parts" / report.part) == report.sha256
    assert report.pixels == "pixels"
    found = records(tmp_path, report)
    assert list(found) == [f"{p.source.key}-v0{v}" for p in UNIT.sources for v in (0, 1)]
    assert {record.status for record in found.values()} == {EDITED}
    first = found[f"{SOURCES[0].key}-v00"]
    assert (first.num_steps, first.label, first.source_prompt) == (4, SOURCES[0].label, SOURCES[0].caption)
    assert first.solver == worker.config.editing.solver.name
    assert json.loads(first.solver_settings)["stop"] == worker.config.editing.stop.model_dump(mode="json")
    assert 0.0 <= first.label_probability <= 1.0
    assert -1.0 <= first.source_similarity <= 1.0
    assert 5.0 < first.reconstruction_psnr <= first.vae_psnr + 1.0
    assert report.psnr_sum == pytest.approx(sum(r.reconstruction_psnr for k, r in found.items() if k.endswith("v00")))
    assert len({record.aug_id for record in found.values()}) == 8
    assert list(read_reconstructions(Ledger(tmp_path), report)) == [p.source.key for p in UNIT.sources]


def test_the_same_unit_gives_the_same_bytes_whatever_ran_before(worker: Worker, tmp_path: Path) -> None:
    before = worker.run_unit(UnitTask(Unit("u000001", (planned(3), planned(1)))))
    report = worker.run_unit(TASK)
    fresh = make_worker(worker_config(tmp_path / "fresh"), load_editor).run_unit(TASK)
    assert fresh.sha256 == report.sha256
    assert before.sha256 != report.sha256


def test_two_units_at_once_give_the_bytes_of_one_after_the_other(
    worker: Worker, editor: DiffusionEditor, tmp_path: Path
) -> None:
    tasks = [UnitTask(Unit(f"u00000{i}", (planned(i), planned(i + 1)))) for i in range(3)]
    single = make_worker(worker_config(tmp_path / "single"), lambda _: editor)
    one_by_one = [single.run_unit(task).sha256 for task in tasks]
    with ThreadPoolExecutor(2) as threads:
        reports = list(threads.map(worker.run_unit, tasks))
    assert [report.sha256 for report in reports] == one_by_one
    assert set(reports[2].seconds) == {"alone", "read", "wait", "idle", "model", "encode", "write"}


def test_bad_images_cost_themselves_only(worker: Worker, tmp_path: Path) -> None:
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "text.png").write_bytes(b"no picture at all")
    unit = Unit(
        "u000000",
        (
            planned(0),
            planned(1, locator=str(tmp_path / "empty.png")),
            planned(2, locator=str(tmp_path / "missing.png")),
            planned(3, locator=str(tmp_path / "text.png")),
        ),
    )
    report = worker.run_unit(UnitTask(unit))
    assert (report.planned, report.edited, report.failed, report.inverted) == (8, 2, 6, 1)
    found = records(tmp_path, report)
    assert list(found) == [f"{p.source.key}-v0{v}" for p in unit.sources for v in (0, 1)]
    stages = {key: (r.status, r.stage) for key, r in found.items()}
    assert stages[f"{SOURCES[0].key}-v01"] == (EDITED, "")
    assert stages[f"{SOURCES[1].key}-v00"] == ("failed", "decode")
    assert stages[f"{SOURCES[2].key}-v01"] == ("failed", "read")
    assert stages[f"{SOURCES[3].key}-v00"] == ("failed", "decode")
    assert found[f"{SOURCES[1].key}-v00"].reason == "the file has zero bytes"
    assert len(found[f"{SOURCES[1].key}-v00"].source_sha256) == 64
    assert {(r.seed, r.model_id) for r in found.values()} == {(0, "embedded")}
    # The same input in another folder must give the same record.
    assert found[f"{SOURCES[2].key}-v00"].reason == f"{SOURCES[2].key}: No such file or directory"


def test_an_output_that_this_machine_does_not_see(tmp_path: Path) -> None:
    config = worker_config(tmp_path)
    (tmp_path / "plan" / "plan.json").unlink()
    with pytest.raises(OutputError, match=r"has no plan as seen from .*name a folder that all machines share"):
        Worker(config, SimulatedEditor).setup()
