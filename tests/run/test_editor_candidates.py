"""Edits that a worker chooses among candidates: recorded with the setting that each was made with, and its scores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from augment.editing import EditConfig
from augment.models.load import load_model
from augment.run.editor import DiffusionEditor, load_scorer
from augment.run.worker_config import WorkerConfig
from tests.run.workers import TASK, make_worker, records, worker_config

MILD, STRONG = {"strength": 0.25, "guidance_scale": 1.0}, {"strength": 1.0, "guidance_scale": 3.0}


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    config = worker_config(tmp_path_factory.mktemp("scorer"))
    return load_model(config.model), load_scorer(config)


def chosen(folder: Path, loaded: tuple[Any, Any], **changes: Any) -> tuple[WorkerConfig, dict[str, Any]]:
    config = worker_config(folder)
    editing = EditConfig(num_steps=4, candidates={"settings": [MILD, STRONG], **changes})
    config = config.model_copy(update={"editing": editing})
    worker = make_worker(config, lambda _: DiffusionEditor(config, *loaded))
    return config, records(folder, worker.run_unit(TASK))


def test_records_say_what_each_edit_was_made_with(tmp_path: Path, loaded: tuple[Any, Any]) -> None:
    _, all_mild = chosen(tmp_path / "mild", loaded, min_label_probability=0.0)
    assert {(r.strength, r.guidance_scale) for r in all_mild.values()} == {(0.25, 1.0)}
    alignments = sorted(r.text_alignment for r in all_mild.values())
    minimum = (alignments[3] + alignments[4]) / 2  # half of the mild edits are good enough
    _, found = chosen(tmp_path / "both", loaded, min_text_alignment=minimum)
    kept_mild = {key for key, r in all_mild.items() if r.text_alignment >= minimum}
    assert 0 < len(kept_mild) < len(found)
    for key, record in found.items():
        if key in kept_mild:
            assert (record.strength, record.guidance_scale) == (0.25, 1.0)
            assert record.text_alignment == pytest.approx(all_mild[key].text_alignment, abs=1e-5)
        else:  # the better of two that are not good enough, or the second
            assert record.text_alignment >= all_mild[key].text_alignment - 1e-5
    assert {record.strength for record in found.values()} == {0.25, 1.0}


def test_what_chooses_is_part_of_an_edits_id(tmp_path: Path, loaded: tuple[Any, Any]) -> None:
    ids = set()
    for name, minimum in (("a", 0.1), ("b", 0.2)):
        config, found = chosen(tmp_path / name, loaded, min_label_probability=minimum)
        ids |= {record.aug_id for record in found.values()}
        other = config.model_copy(update={"clip": config.clip.model_copy(update={"label_templates": ("a {class}",)})})
        editor = DiffusionEditor(other, *loaded)
        ids |= {i for p in TASK.unit.sources for (i,) in editor.aug_ids(p, found[f"{p.source.key}-v00"].source_sha256)}
    assert len(ids) == 4 * len(found)
