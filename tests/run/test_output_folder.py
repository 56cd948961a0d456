"""An output folder keeps what is in it: files of the user's own, and edits whose parts or sources are away."""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from augment.dataset.generation import read_manifest
from augment.dataset.overview import FILES, KEPT_SOURCES
from augment.dataset.publish import CARD, INDEX
from augment.dataset.verify import verify
from augment.errors import InputError, OutputError, StoreError
from augment.ledger.ledger import Ledger
from augment.ledger.plan_files import results_in
from augment.run.finalize import RESOLVED, finalize
from augment.run.simulate import SimulatedEditor
from augment.run.source_files import SourceFiles, SourceReader
from augment.run.status import status
from augment.run.validate import validate
from augment.run.worker import Worker
from augment.storage.local_store import LocalStore
from augment.types import Source
from tests.memory_store import Killed
from tests.run.growing import GrowingJob
from tests.run.runs import published

THRESHOLD = "filters.min_label_probability"


def picture(path: Path, seed: int) -> None:
    """A BMP has the same size whatever it shows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(path)


def new_job(folder: Path) -> GrowingJob:
    job = GrowingJob(folder)
    job.options = {"variants_per_image": 2, "run.unit_size": 2, "run.batch_size": 2, THRESHOLD: 0.2}
    return job


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    job = new_job(tmp_path_factory.mktemp("folder"))
    for seed in range(8):
        picture(job.images / ("fox", "owl")[seed % 2] / f"{seed}.bmp", seed)
    job.expand()
    return job.folder


@pytest.fixture
def job(finished: Path, tmp_path: Path) -> GrowingJob:
    return new_job(Path(shutil.copytree(finished, tmp_path / "job")))


def die_before_publishing(job: GrowingJob, monkeypatch: pytest.MonkeyPatch) -> None:
    def dies(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("augment.run.expand.publish_run", dies)
        with pytest.raises(Killed):
            job.expand()


def files_in(out: Path, *folders: str) -> set[str]:
    return {str(path.relative_to(out)) for folder in folders for path in (out / folder).iterdir()}


# ---- files of the user's own ----------------------------------------------------------------------------------------
def test_a_folder_of_the_users_own_files_is_refused_and_left_alone(job: GrowingJob) -> None:
    out = job.folder / "project"
    names = ("parts/model.step", "index/index.html", "README.md", "report.html", "index.parquet", "contact_sheet.png")
    for name in (*names, ".notes.tmp", "run/train.sh"):
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text("mine")
    with pytest.raises(OutputError, match=r"already has parts, index, README\.md, .* Choose another output\.path"):
        job.expand(out)
    assert {(out / name).read_text() for name in (*names, ".notes.tmp", "run/train.sh")} == {"mine"}
    problems = validate(job.folder / "config.yaml", job.overrides(out)).problems
    assert len(problems) == 1 and "already has parts, index, README.md" in problems[0]


def test_what_a_run_replaces_is_looked_for(tmp_path: Path) -> None:
    names = {CARD, INDEX, *FILES, "manifest.json", RESOLVED, KEPT_SOURCES}
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("mine")
    assert set(results_in(LocalStore(tmp_path))) == names


def test_parts_without_their_plan_and_commits_stay(job: GrowingJob) -> None:
    shutil.rmtree(job.out / "plan")
    shutil.rmtree(job.out / "commits")
    before = files_in(job.out, "parts")
    with pytest.raises(OutputError, match=r"already has shards, rejected, parts, .*restore its plan/ and commits/"):
        job.expand()
    assert files_in(job.out, "parts") == before


def test_files_that_no_run_has_made_stay_in_a_finished_folder(job: GrowingJob) -> None:
    names = ("parts/mine.tar", "index/index.html", "shards/notes.txt", "commits/notes.txt", ".notes.tmp")
    for name in names:
        (job.out / name).write_text("mine")
    job.options |= {"variants_per_image": 3, THRESHOLD: 0.6}  # other parts, shards and index
    assert job.expand().edits_made == 8
    finalize(job.out, [f"{THRESHOLD}=0.4"])
    assert {(job.out / name).read_text() for name in names} == {"mine"}
    assert len(files_in(job.out, "index")) == 2


# ---- parts that are away --------------------------------------------------------------------------------------------
def test_parts_that_are_away_are_named_and_nothing_is_removed(job: GrowingJob) -> None:
    away = sorted((job.out / "parts").iterdir())[:2]
    before, kept = files_in(job.out, "commits", "parts"), job.folder / "archive"
    kept.mkdir()
    for path in away:
        shutil.move(path, kept / path.name)
    for again in (job.expand, job.counts, partial(finalize, job.out, [f"{THRESHOLD}=0.6"])):
        with pytest.raises(OutputError, match=r"2 of \d finished units have lost their part") as caught:
            again()
        assert all(f"parts/{path.name}" in str(caught.value) for path in away)
    for path in away:
        shutil.move(kept / path.name, path)
    finalize(job.out, [f"{THRESHOLD}=0.6"])
    assert files_in(job.out, "commits", "parts") == before


def test_units_whose_commits_are_deleted_with_their_parts_are_made_again(job: GrowingJob) -> None:
    before = published(job.out)
    (report, *_) = Ledger(job.out).committed().values()
    (job.out / "parts" / report.part).unlink()
    with pytest.raises(OutputError, match=rf"delete commits/{report.unit_id}\.json and run `augment expand` again"):
        job.expand()
    (job.out / "commits" / f"{report.unit_id}.json").unlink()
    assert job.expand().edits_made == report.edited
    assert published(job.out) == before


def test_parts_on_a_disk_that_is_away_before_anything_was_published(job: GrowingJob) -> None:
    (job.out / "manifest.json").unlink()
    before = files_in(job.out, "commits", "parts")
    (job.out / "parts").rename(job.folder / "away")
    (job.out / "parts").symlink_to(job.folder / "not_mounted")
    with pytest.raises(OutputError, match=r"out/parts is a link that leads nowhere: bring back"):
        job.expand()
    (job.out / "parts").unlink()
    (job.folder / "away").rename(job.out / "parts")
    assert job.expand().edits_made == 0
    assert files_in(job.out, "commits", "parts") == before


def test_finalize_removes_no_commit_and_no_part(job: GrowingJob, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor those of a plan that was replaced, which the next run removes."""
    job.options["variants_per_image"] = 3
    die_before_publishing(job, monkeypatch)
    before = files_in(job.out, "commits", "parts")
    assert finalize(job.out).manifest["planned"] == 24
    assert files_in(job.out, "commits", "parts") == before
    assert job.expand().edits_made == 0
    assert len(files_in(job.out, "commits")) < len([name for name in before if name.startswith("commits")])


# ---- what is published is not what was made last --------------------------------------------------------------------
def test_edits_made_again_that_are_not_published_yet(job: GrowingJob, monkeypatch: pytest.MonkeyPatch) -> None:
    picture(job.images / "fox" / "0.bmp", 100)
    die_before_publishing(job, monkeypatch)
    found = status(job.out)
    assert (found.state, found.verdicts, found.units_done) == ("interrupted", None, found.units)
    assert "manifest.json is of an earlier dataset" in verify(job.out, FILES).problems[0]
    assert job.expand().edits_made == 0
    assert (status(job.out).state, verify(job.out, FILES).problems) == ("finished", [])


def test_thresholds_are_written_down_when_they_are_published(job: GrowingJob, monkeypatch: pytest.MonkeyPatch) -> None:
    def written() -> tuple[float, float, int, int]:
        resolved = yaml.safe_load((job.out / RESOLVED).read_text())
        found = (resolved, json.loads((job.out / "manifest.json").read_text()))
        first, second = (content["filters"]["min_label_probability"] for content in found)
        return first, second, resolved["output"]["max_shard_samples"], found[1]["limits"]["max_shard_samples"]

    job.options |= {THRESHOLD: 0.9, "output.max_shard_samples": 7}
    die_before_publishing(job, monkeypatch)
    assert written() == (0.2, 0.2, 1000, 1000)
    job.expand()
    assert written() == (0.9, 0.9, 7, 7)
    assert status(job.out).state == "finished"


def test_a_dataset_of_an_earlier_release_is_believed(job: GrowingJob) -> None:
    manifest = read_manifest(LocalStore(job.out))
    assert manifest is not None and manifest.pop("limits")
    (job.out / "manifest.json").write_text(json.dumps(manifest))
    assert (status(job.out).state, verify(job.out, FILES).problems) == ("finished", [])


def test_means_of_nothing_are_not_zero(tmp_path: Path) -> None:
    job = new_job(tmp_path)
    for name in ("fox", "owl"):
        (job.images / name).mkdir(parents=True)
        (job.images / name / "0.png").write_bytes(b"\x89PNG\r\n\x1a\n" + name.encode() * 20)
    job.options |= {"budget.max_failed": 1, "budget.max_failed_per_class": 1}
    summary = job.expand()
    assert (summary.manifest["failed"], summary.manifest["mean_reconstruction_psnr"]) == (4, None)
    assert summary.lines()[2].split() == ["reconstruction", "-"]
    assert "Mean reconstruction PSNR -; the autoencoder alone, which is the bound:\n-." in (job.out / CARD).read_text()
    assert "<b>-</b>mean reconstruction PSNR" in (job.out / "report.html").read_text()
    assert verify(job.out, FILES).problems == []


# ---- sources that are away ------------------------------------------------------------------------------------------
@pytest.fixture
def disks(job: GrowingJob) -> GrowingJob:
    """The job by a manifest of files on two disks, of which one goes."""
    job.images.rename(job.folder / "disk")
    rows = [f"disk/{name}/{i}.bmp,{name}" for i in range(8) for name in [("fox", "owl")[i % 2]]]
    (job.folder / "all.csv").write_text("\n".join(["path,label", *rows]) + "\n")
    job.options |= {"input.format": "manifest", "input.path": str(job.folder / "all.csv")}
    job.out = job.folder / "of_manifest"
    assert job.expand().edits_made == 16
    (job.folder / "disk" / "owl").rename(job.folder / "away")
    return job


def test_edits_stay_whose_sources_are_away(disks: GrowingJob, caplog: pytest.LogCaptureFixture) -> None:
    before = published(disks.out)
    disks.options[THRESHOLD] = 0.6
    assert disks.counts() == (0, 16, 0)
    summary = disks.expand()
    assert (summary.edits_made, summary.manifest["failed"]) == (0, 0)
    assert "4 image(s) that have edits are not there now" in caplog.text
    disks.options[THRESHOLD] = 0.2
    (disks.folder / "away").rename(disks.folder / "disk" / "owl")
    caplog.clear()
    assert disks.expand().edits_made == 0
    assert published(disks.out) == before
    assert "were written since the last run" not in caplog.text


def test_what_is_missing_of_them_fails_until_they_are_back(disks: GrowingJob) -> None:
    disks.options |= {"variants_per_image": 3, "budget.max_failed": 1, "budget.max_failed_per_class": 1}
    assert disks.counts() == (8, 16, 0)
    summary = disks.expand()
    assert (summary.edits_made, summary.manifest["failed"]) == (4, 4)
    (disks.folder / "away").rename(disks.folder / "disk" / "owl")
    assert disks.expand(retry_failed=True).edits_made == 4
    assert published(disks.out) == disks.fresh()


def test_a_picture_that_is_another_when_it_is_back_is_made_again(disks: GrowingJob) -> None:
    disks.options[THRESHOLD] = 0.6
    disks.expand()
    (disks.folder / "away").rename(disks.folder / "disk" / "owl")
    picture(disks.folder / "disk" / "owl" / "3.bmp", 100)
    assert disks.expand().edits_made == 2
    assert published(disks.out) == disks.fresh()


def test_edits_that_need_their_sources_are_not_given_up(disks: GrowingJob) -> None:
    before = files_in(disks.out, "commits", "parts", "plan")
    disks.options["clip.label_templates"] = "['a {class}']"
    with pytest.raises(
        InputError, match=r"4 image\(s\) that have edits are not there now.*take them out of the dataset"
    ):
        disks.expand()
    assert files_in(disks.out, "commits", "parts", "plan") == before


@pytest.mark.parametrize("scored_anew", [False, True])
def test_a_source_that_only_the_worker_cannot_read(
    job: GrowingJob, scored_anew: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Blind(SourceReader):
        def read(self, source: Source) -> SourceFiles:
            if source.key == "fox/2":
                raise InputError("fox/2 cannot be read")
            return super().read(source)

    monkeypatch.setattr("augment.run.worker.SourceReader", Blind)
    job.options["input.class_names" if scored_anew else "run.unit_size"] = "{fox: fox, owl: bird}" if scored_anew else 3
    make = partial(Worker, make_editor=SimulatedEditor)
    if scored_anew:
        before = files_in(job.out, "commits", "parts")
        with pytest.raises(StoreError, match=r"fox/2 cannot be read\. 2 edits .* need new scores"):
            job.expand(make_worker=make)
        assert files_in(job.out, "commits", "parts") >= before
    else:
        summary = job.expand(make_worker=make)
        assert (summary.edits_made, summary.manifest["failed"]) == (0, 0)
