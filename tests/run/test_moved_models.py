"""A model's folder that moves: its edits count on, as long as its files are the same."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from augment.dataset.index import read_index
from augment.editing import EditConfig
from augment.errors import OutputError
from augment.ledger.ledger import Ledger
from augment.models.config import ClipConfig, folder_digest
from augment.models.load import load_model
from augment.models.segmentation_files import SegmentationConfig
from augment.run.editor import DiffusionEditor, load_scorer
from augment.run.moved_models import as_planned
from augment.run.validate import validate
from augment.run.worker_config import worker_config as settings_of_workers
from augment.tiny.packaged import WEIGHTS, embedded_revision
from tests.run.growing import GrowingJob
from tests.run.workers import TASK, worker_config


@pytest.fixture
def job(tmp_path: Path) -> GrowingJob:
    """A finished job whose model has moved since."""
    job = GrowingJob(tmp_path)
    for i in range(2):
        job.add("fox", f"{i}", i)
        job.add("owl", f"{i}", 10 + i)
    shutil.copytree(WEIGHTS / "pipeline", tmp_path / "a")
    job.options["model.name"] = str(tmp_path / "a")
    job.expand()
    (tmp_path / "a").rename(tmp_path / "b")
    job.options["model.name"] = str(tmp_path / "b")
    return job


def test_a_dataset_grows_with_a_model_that_has_moved(job: GrowingJob) -> None:
    plan = (job.out / "plan/plan.json").read_bytes()
    assert job.counts() == (0, 16, 0)
    overrides = job.overrides(job.out)
    assert validate(job.folder / "config.yaml", overrides).problems == ()
    assert job.expand().edits_made == 0
    assert (job.out / "plan/plan.json").read_bytes() == plan
    job.add("fox", "new", 3)
    assert job.counts() == (4, 16, 0)
    assert job.expand().edits_made == 4
    rows = list(read_index(job.out / "index.parquet"))
    assert len(rows) == 20
    assert len({row["config_hash"] for row in rows}) == 1


def test_workers_load_the_model_where_it_is_now_and_call_it_as_the_plan_does(job: GrowingJob) -> None:
    plan = Ledger(job.out).read_plan()
    assert plan is not None
    config = settings_of_workers(job.load(job.out), plan)
    assert config.model.name == str(job.folder / "b")
    assert config.known_fields()["model_id"] == str(job.folder / "a")
    assert config.known_fields()["model_revision"] == plan.fingerprint["model.revision"]


def test_other_files_at_the_new_place_are_another_model(job: GrowingJob) -> None:
    index = job.folder / "b/model_index.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | {"note": "another"}))
    with pytest.raises(OutputError, match=r"model\.revision: '.*' in the plan, '.*' now"):
        job.expand()


def test_ids_are_those_of_the_plan(tmp_path: Path) -> None:
    config = worker_config(tmp_path)
    tried = {"settings": [{"strength": 0.25}, {"strength": 0.5}], "min_label_probability": 0.5}
    editing = EditConfig(num_steps=4, candidates=tried, preserve="mask")
    models = load_model(config.model), load_scorer(config)

    def ids(place: str, **known_as: dict[str, str]) -> list[tuple[str, ...]]:
        changes = {
            "editing": editing,
            "clip": ClipConfig(name=f"{place}/clip", revision="1"),
            "segmentation": SegmentationConfig(name=f"{place}/masks", revision="2"),
            "known_as": known_as,
        }
        editor = DiffusionEditor(config.model_copy(update=changes), *models)
        return editor.aug_ids(TASK.unit.sources[0], "content")

    model = {"name": models[0].model_id, "revision": models[0].revision}
    clip, masks = {"name": "a/clip", "revision": "1"}, {"name": "a/masks", "revision": "2"}
    before = ids("a")
    assert ids("b", model=model, clip=clip, segmentation=masks) == before
    for known in ({"clip": clip}, {"segmentation": masks}):
        assert ids("b", model=model, **known) != before
    assert ids("a", model={"name": "b", "revision": model["revision"]}) != before


def test_plans_from_before_tokenizers_were_part_of_a_revision_count_on(tmp_path: Path) -> None:
    folder = tmp_path / "tokenizer"
    folder.mkdir()
    (folder / "merges.txt").write_text("#version: 0.2\n")
    (folder / "vocab.json").write_text("{}")
    now = {"model.name": str(tmp_path), "model.revision": folder_digest(tmp_path), "seed": 0}
    earlier = folder_digest(tmp_path, with_tokenizers=False)
    assert earlier != now["model.revision"]
    planned = {"model.name": "elsewhere", "model.revision": earlier}
    assert as_planned(now, planned) == {**planned, "seed": 0}
    assert as_planned(now, planned | {"model.revision": "0" * 16}) == now
    assert as_planned(now, {}) == now


def test_packaged_models_are_told_by_their_names() -> None:
    now = {"model.name": "embedded", "model.revision": embedded_revision()}
    assert as_planned(now, now | {"model.name": "embedded-lcm"}) == now
