"""A run killed before any change that it makes to its disk: the same command finishes it, with the same result."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path

import pytest

from tests.dataset.steps import before_each_change
from tests.memory_store import Killed
from tests.run.growing import GrowingJob
from tests.run.runs import published


def small(folder: Path) -> GrowingJob:
    """A job of one picture of each of two classes."""
    job = GrowingJob(folder)
    job.options |= {"variants_per_image": 2}
    for number, name in enumerate(("fox", "owl")):
        job.add(name, "000", number)
    return job


def grown(job: GrowingJob) -> None:
    job.add("owl", "001", 7)
    job.options |= {"filters.min_label_probability": 0.3}


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("grows", [False, True], ids=["first", "grown"])
def test_before_every_change(tmp_path: Path, grows: bool) -> None:
    finished = tmp_path / "finished"
    job = small(finished)
    if grows:
        job.expand()
        grown(job)
    shutil.copytree(finished, tmp_path / "begun")
    job.expand()
    expected = published(job.out)

    for number in itertools.count():
        folder = tmp_path / "killed"
        shutil.copytree(tmp_path / "begun", folder)
        job = small(folder)
        if grows:
            grown(job)
        changes = itertools.count()

        def kill(_: str, changes: itertools.count[int] = changes, number: int = number) -> None:
            if next(changes) == number:
                raise Killed

        try:
            with before_each_change(job.out, kill):
                job.expand()
        except Killed:
            for lease in job.out.rglob("lease-*"):
                lease.unlink()  # this process lives on, so it would be taken for one that holds it
            job.expand()
            assert published(job.out) == expected, number
            shutil.rmtree(folder)
        else:
            break
    assert number > 50
