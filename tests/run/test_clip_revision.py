"""The weights that score edits are part of a plan: one dataset has the scores of one CLIP."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file

from augment.dataset.index import read_index
from augment.editing import EditConfig
from augment.errors import ModelError
from augment.ledger.plan import config_hash_of, pixels_hash_of
from augment.models.clip import load_clip
from augment.models.config import ClipConfig, folder_digest, pinned_clip
from augment.models.load import load_model
from augment.prompts import PromptConfig
from augment.run.config import ExpandConfig, fingerprint, with_pinned_models
from augment.run.editor import DiffusionEditor, load_scorer
from augment.run.simulate import SimulatedEditor
from augment.run.worker import Worker
from augment.run.worker_config import BatchConfig
from augment.tiny.packaged import WEIGHTS, embedded_revision
from tests.run.growing import GrowingJob
from tests.run.workers import TASK, worker_config

COMMITS = ("1" * 40, "2" * 40)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(WEIGHTS / "clip", tmp_path / "clip"))


def change_weights(folder: Path) -> None:
    path = folder / "model.safetensors"
    tensors = load_file(path)
    tensors["visual_projection.weight"] *= -1
    save_file(tensors, path, metadata={"format": "pt"})


def settings(clip: ClipConfig) -> dict[str, Any]:
    config = ExpandConfig(
        input={"path": "in", "format": "flat", "image_size": 64},
        output={"path": "out"},
        prompts={"templates": ["a {class}"], "attributes": {}},
        clip=clip,
    )
    prompts = config.prompts
    assert isinstance(prompts, PromptConfig)
    return fingerprint(with_pinned_models(config), prompts, [], {})


def test_plans_from_before_there_was_a_revision_are_recognised() -> None:
    of_clip = {key: value for key, value in settings(ClipConfig()).items() if key.startswith("clip.")}
    assert of_clip == {"clip.name": "embedded", "clip.label_templates": ["a picture of {a_class}"]}
    assert pinned_clip(ClipConfig()).revision == embedded_revision()


def test_another_packaged_clip_is_another_plan() -> None:
    assert ClipConfig(revision="a release from now").identity()["revision"] == "a release from now"


def test_other_weights_in_the_same_folder_change_scores_and_no_pixels(folder: Path) -> None:
    before = settings(ClipConfig(name=str(folder)))
    assert before["clip.revision"] == folder_digest(folder)
    change_weights(folder)
    after = settings(ClipConfig(name=str(folder)))
    assert config_hash_of(before) != config_hash_of(after)
    assert pixels_hash_of(before) == pixels_hash_of(after)
    with pytest.raises(ModelError, match=r"clip\.name '.*': revision 'abc' was asked for, but the weights that are"):
        pinned_clip(ClipConfig(name=str(folder), revision="abc"))


def test_packaged_weights_of_another_revision_are_refused() -> None:
    with pytest.raises(ModelError, match=r"clip\.name 'embedded': revision 'abc' was asked for, .*'43a6"):
        load_clip(ClipConfig(revision="abc"))


class Scored(SimulatedEditor):
    """Scores are what the weights of CLIP say, here their hash."""

    def __init__(self, config: BatchConfig) -> None:
        super().__init__(config)
        self._score = int(config.clip.revision, 16) / 16**16

    def edit(self, batch):  # type: ignore[no-untyped-def]
        found = super().edit(batch)
        for raw in found:
            for scores in raw.scores:
                scores["label_probability"] = self._score
        return found

    def score(self, image, edits):  # type: ignore[no-untyped-def]
        return [{**scores, "label_probability": self._score} for scores in super().score(image, edits)]


def test_a_dataset_that_grows_has_the_scores_of_one_clip(tmp_path: Path, folder: Path) -> None:
    job = GrowingJob(tmp_path)
    job.options |= {"clip.name": str(folder), "filters.min_label_probability": "null"}
    for i in range(3):
        job.add("fox", f"{i}", i)
        job.add("owl", f"{i}", 10 + i)
    make = partial(Worker, make_editor=Scored)
    job.expand(make_worker=make)
    change_weights(folder)
    job.add("fox", "new", 3)
    assert job.expand(make_worker=make).edits_made == 4  # those of the new image: the others are scored again
    rows = list(read_index(job.out / "index.parquet"))
    assert len(rows) == 28
    assert {row["label_probability"] for row in rows} == {int(folder_digest(folder), 16) / 16**16}


def test_the_weights_that_choose_among_candidates_are_part_of_an_edits_id(tmp_path: Path) -> None:
    config = worker_config(tmp_path)
    tried = {"settings": [{"strength": 0.25}, {"strength": 0.5}], "min_label_probability": 0.5}
    config = config.model_copy(update={"editing": EditConfig(num_steps=4, candidates=tried)})
    models = load_model(config.model), load_scorer(config)

    def ids(revision: str) -> list[tuple[str, ...]]:
        other = config.model_copy(update={"clip": ClipConfig(revision=revision)})
        return DiffusionEditor(other, *models).aug_ids(TASK.unit.sources[0], "content")

    assert ids("") == ids(embedded_revision()) != ids("another")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A CLIP of the hub in the cache, with two commits; returns its name."""
    cache = tmp_path / "cache"
    for commit in COMMITS:
        shutil.copytree(WEIGHTS / "clip", cache / "models--someone--clip" / "snapshots" / commit)
    change_weights(cache / "models--someone--clip" / "snapshots" / COMMITS[1])
    (cache / "models--someone--clip" / "refs").mkdir()
    (cache / "models--someone--clip" / "refs" / "main").write_text(COMMITS[1])
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return "someone/clip"


def test_a_model_of_the_hub_is_the_commit_that_the_driver_found(hub: str) -> None:
    assert pinned_clip(ClipConfig(name=hub)).revision == COMMITS[1]
    first, second = (load_clip(ClipConfig(name=hub, revision=commit)) for commit in COMMITS)
    projections = [clip.model.visual_projection.weight for clip in (first, second)]
    torch.testing.assert_close(projections[0], -projections[1])
