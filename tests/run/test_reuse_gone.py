"""Folders of `reuse` that are gone, the job's own among them, and models that have moved since."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import pytest

from augment.errors import ConfigError, OutputError
from augment.run.validate import validate
from augment.tiny.packaged import WEIGHTS
from tests.run.growing import GrowingJob
from tests.run.runs import published


@pytest.fixture
def job(tmp_path: Path) -> GrowingJob:
    """A job that can take over all edits from `other`, with its model in a folder."""
    job = GrowingJob(tmp_path)
    job.options["variants_per_image"] = 2
    for i in range(2):
        job.add("fox", f"{i}", i)
        job.add("owl", f"{i}", 10 + i)
    shutil.copytree(WEIGHTS / "pipeline", tmp_path / "a")
    job.options["model.name"] = str(tmp_path / "a")
    job.expand(tmp_path / "other")
    job.options["reuse"] = f"['{tmp_path / 'other'}']"
    return job


def found(job: GrowingJob) -> tuple[tuple[str, ...], tuple[str, ...]]:
    overrides = job.overrides(job.out)
    result = validate(job.folder / "config.yaml", overrides)
    return result.problems, tuple(text for text in result.warnings if text.startswith("reuse"))


def test_a_finished_run_needs_no_other_folder(job: GrowingJob, caplog: pytest.LogCaptureFixture) -> None:
    assert job.expand().edits_made == 0
    before = published(job.out)
    shutil.rmtree(job.folder / "other")
    problems, (warning,) = found(job)
    assert problems == ()
    assert warning.startswith(f"reuse: {job.folder / 'other'} has no plan/plan.json")
    assert job.counts() == (0, 8, 0)
    with caplog.at_level(logging.WARNING):
        assert job.expand().edits_made == 0
    assert f"warning: {warning}" in caplog.messages
    assert published(job.out) == before


def test_one_that_has_grown_does_and_keeps_its_plan(job: GrowingJob) -> None:
    job.expand()
    before = (job.out / "plan/plan.json").read_bytes()
    shutil.rmtree(job.folder / "other")
    job.options["variants_per_image"] = 3
    with pytest.raises(OutputError, match=r"reuse: .*other has no plan/plan\.json.*leave it out"):
        job.expand()
    assert (job.out / "plan/plan.json").read_bytes() == before


def test_so_does_one_that_is_not_finished(job: GrowingJob) -> None:
    job.expand()
    shutil.rmtree(job.folder / "other")
    next((job.out / "commits").glob("*.json")).unlink()
    assert len(found(job)[0]) == 1
    with pytest.raises(ConfigError, match=r"reuse: .*other has no plan"):
        job.expand()


def test_the_jobs_own_output_may_be_named(job: GrowingJob) -> None:
    job.options["reuse"] = f"['{job.out}/']"
    assert found(job) == ((), ())
    assert job.expand().edits_made == 8


def test_a_model_that_has_moved_is_no_other_setting(job: GrowingJob, caplog: pytest.LogCaptureFixture) -> None:
    job.options["variants_per_image"] = 1
    job.expand()
    (job.folder / "a").rename(job.folder / "b")
    job.options |= {"model.name": str(job.folder / "b"), "variants_per_image": 2}
    assert found(job) == ((), ())
    with caplog.at_level(logging.WARNING):
        assert job.expand().edits_made == 0
    assert "can be taken over" not in caplog.text
