"""A preview measures edits that it makes."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

import augment.run.preview as preview_module
from augment.run.expand import expand
from augment.run.preview import preview
from augment.run.simulate import SimulatedEditor
from augment.run.worker import Worker
from tests.run.prompt_jobs import two_classes


def test_edits_that_could_be_taken_over_are_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        preview_module, "expand", partial(expand, make_worker=partial(Worker, make_editor=SimulatedEditor))
    )
    job = two_classes(tmp_path)
    job.expand(tmp_path / "other")
    job.options["reuse"] = f"[{tmp_path / 'other'}]"
    found = preview(job.load(job.out), 3)
    assert found.summary.edits_made == 6
    assert found.measured is not None and found.measured.edits == 6
    assert job.counts() == (0, 10, 0)  # the run itself takes them over
