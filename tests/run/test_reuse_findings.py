"""`reuse`: a folder that is no output is said before anything is written, one of other settings with the difference."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import pytest

from augment.errors import ConfigError
from augment.run.validate import validate
from tests.run.growing import GrowingJob


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small job whose output is in `other`."""
    job = GrowingJob(tmp_path_factory.mktemp("reuse"))
    for i in range(3):
        job.add("fox", f"{i}", i)
        job.add("owl", f"{i}", 10 + i)
    job.expand(job.folder / "other")
    return job.folder


@pytest.fixture
def job(finished: Path, tmp_path: Path) -> GrowingJob:
    return GrowingJob(Path(shutil.copytree(finished, tmp_path / "job")))


def found(job: GrowingJob, reuse: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    job.options["reuse"] = f"['{reuse}']"
    overrides = job.overrides(job.out)
    result = validate(job.folder / "config.yaml", overrides)
    return result.problems, tuple(text for text in result.warnings if text.startswith("reuse"))


@pytest.mark.parametrize("reuse", ["~/nothing/here", "/nothing/here"])
def test_a_folder_that_is_not_there_is_refused_before_a_plan_is_written(
    job: GrowingJob, reuse: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    (problem,), _ = found(job, reuse)
    there = reuse.replace("~", "/home/someone")
    assert problem == (
        f"reuse: {there} has no plan/plan.json: it is no output folder of `augment expand`. Correct the path, or leave "
        "it out"
    )
    with pytest.raises(ConfigError, match=f"reuse: {there} has no plan"):
        job.expand()
    assert not job.out.exists()


def test_a_damaged_plan_is_a_problem(job: GrowingJob) -> None:
    (job.folder / "other/plan/plan.json").write_text("{")
    (problem,), _ = found(job, str(job.folder / "other"))
    assert problem.startswith(f"reuse: {job.folder / 'other'}")


def test_variables_in_its_path_are_replaced(job: GrowingJob, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDITS", str(job.folder))
    assert found(job, "$EDITS/other") == ((), ())
    assert job.expand().edits_made == 0


def test_other_settings_are_named(job: GrowingJob, caplog: pytest.LogCaptureFixture) -> None:
    job.options |= {"seed": 1, "variants_per_image": 2}  # the second changes no edit's pixels
    other = job.folder / "other"
    text = (
        f"reuse: no edit of the plan in {other} can be taken over, because it was made with other settings: "
        "seed: 0 in the plan, 1 now"
    )
    assert found(job, str(other)) == ((), (text,))
    with caplog.at_level(logging.WARNING):
        assert job.expand().edits_made == 12
    assert f"warning: {text}" in caplog.messages
