"""Thresholds that contradict each other, or say nothing on a dataset; and `finalize` where paths are odd."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from pydantic import ValidationError

from augment.errors import ConfigError
from augment.filters import FilterConfig
from augment.run.finalize import finalize
from augment.run.validate import validate
from tests.run.growing import GrowingJob

CANDIDATES = "{settings: [{strength: 0.25}, {strength: 0.5}], "


@pytest.fixture
def job(tmp_path: Path) -> GrowingJob:
    job = GrowingJob(tmp_path)
    for i in range(2):
        job.add("fox", f"{i}", i)
        job.add("owl", f"{i}", 10 + i)
    return job


@pytest.mark.parametrize(("least", "most"), [(0.9, 0.5), (0.5, 0.5), (-0.2, -0.3)])
def test_a_minimum_is_below_its_maximum(least: float, most: float) -> None:
    with pytest.raises(ValidationError, match=f"min_source_similarity {least:g} and max_source_similarity {most:g}"):
        FilterConfig(min_source_similarity=least, max_source_similarity=most)


def test_bounds_in_order_pass() -> None:
    assert FilterConfig(min_source_similarity=0.5, max_source_similarity=0.9).max_source_similarity == 0.9
    assert FilterConfig(min_source_similarity=0.9).max_source_similarity is None


def problems(job: GrowingJob, **options: object) -> tuple[str, ...]:
    job.options |= options
    overrides = job.overrides(job.out)
    return validate(job.folder / "config.yaml", overrides).problems


def test_contradictory_thresholds_are_a_problem_of_the_config(job: GrowingJob) -> None:
    (problem,) = problems(job, **{"filters.min_source_similarity": 0.9, "filters.max_source_similarity": 0.5})
    assert "filters" in problem
    assert "together reject every edit" in problem


def test_candidates_are_not_chosen_by_a_probability_that_is_always_1(job: GrowingJob) -> None:
    option = {"editing.candidates": CANDIDATES + "min_label_probability: 0.5}"}
    assert problems(job, **option) == ()
    shutil.rmtree(job.images / "owl")
    (problem,) = problems(job, **{"filters.min_label_probability": "null"})
    assert problem.startswith("editing.candidates.min_label_probability: 0.5 chooses nothing, because the dataset has")


def test_candidates_are_not_chosen_by_what_the_filters_reject(job: GrowingJob) -> None:
    options = {"editing.candidates": CANDIDATES + "min_source_similarity: 0.8}", "filters.max_source_similarity": 0.7}
    (problem,) = problems(job, **options)
    assert problem.startswith("editing.candidates.min_source_similarity: edits from 0.8 on are chosen, and filters.max")
    assert problems(job, **{"filters.max_source_similarity": 0.9}) == ()


def test_finalize_takes_the_paths_of_a_run_as_they_are_written(tmp_path: Path) -> None:
    (tmp_path / "US$A").mkdir()
    job = GrowingJob(tmp_path / "US$A")
    job.out = tmp_path / "out"
    for i in range(2):
        job.add("fox", f"{i}", i)
        job.add("owl", f"{i}", 10 + i)
    job.expand()
    (tmp_path / "US$A").rename(tmp_path / "gone")
    assert finalize(job.out, ["filters.min_label_probability=0"]).manifest["accepted"] == 16
    assert finalize(job.out, ["filters.min_label_probability=1"]).manifest["accepted"] < 16


def test_finalize_expands_the_paths_of_a_config_that_a_person_wrote(job: GrowingJob) -> None:
    job.expand()
    config = job.folder / "config.yaml"
    config.write_text(config.read_text().replace("path: out", "path: $NOWHERE/out"))
    with pytest.raises(ConfigError, match="the environment variable 'NOWHERE' is not set"):
        finalize(job.out, config_path=config)


def test_finalize_repairs_thresholds_that_an_earlier_release_let_pass(job: GrowingJob) -> None:
    job.expand()
    resolved = job.out / "run/config.resolved.yaml"
    text = resolved.read_text()
    for name, value in (("min", 0.9), ("max", 0.5)):
        assert f"{name}_source_similarity: null" in text
        text = text.replace(f"{name}_source_similarity: null", f"{name}_source_similarity: {value}")
    resolved.write_text(text)
    with pytest.raises(ConfigError, match="together reject every edit"):
        finalize(job.out)
    finalize(job.out, ["filters.max_source_similarity=null"])
    assert "max_source_similarity: null" in resolved.read_text()
