"""The editor on a model that gives NaN, or has no room for float32."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from augment.models.load import load_model
from augment.run.config import WorkerConfig
from augment.run.editor import DiffusionEditor, load_scorer
from augment.run.worker import Worker
from augment.scoring.edit_scores import EditScorer
from augment.types import Unit, UnitTask
from tests.run.workers import SOURCES, TASK, UNIT, make_worker, planned, records, worker_config

ONE = UnitTask(replace(UNIT, unit_id="u000001", sources=UNIT.sources[:1]))


@pytest.fixture(scope="module")
def scorer(tmp_path_factory: pytest.TempPathFactory) -> EditScorer:
    return load_scorer(worker_config(tmp_path_factory.mktemp("scorer")))


def on(config: WorkerConfig, scorer: EditScorer) -> tuple[Worker, Any]:
    """A worker, and the model it edits with."""
    model = load_model(config.model)
    return make_worker(config, lambda _: DiffusionEditor(config, model, scorer)), model


def test_nan_costs_the_image_it_is_in(tmp_path: Path, scorer: EditScorer, monkeypatch: pytest.MonkeyPatch) -> None:
    worker, model = on(worker_config(tmp_path), scorer)
    encode = model.encode

    def encode_badly(images: Tensor) -> Tensor:
        latents = encode(images)
        return torch.cat([latents[:1], latents[1:2] * torch.nan, latents[2:]])

    clean = records(tmp_path, worker.run_unit(UnitTask(Unit("u000001", (planned(0),)))))
    monkeypatch.setattr(model, "encode", encode_badly)
    report = worker.run_unit(TASK)
    found = records(tmp_path, report)
    assert (report.edited, report.failed, report.inverted) == (6, 2, 3)
    for variant in ("v00", "v01"):
        bad = found[f"{SOURCES[1].key}-{variant}"]
        assert (bad.status, bad.stage) == ("failed", "invert")
        assert "not finite" in bad.reason
    key = f"{SOURCES[0].key}-v00"
    assert found[key].reconstruction_psnr == pytest.approx(clean[key].reconstruction_psnr, abs=0.01)


def test_a_prompt_whose_class_the_model_does_not_read_fails(
    tmp_path: Path, scorer: EditScorer, caplog: pytest.LogCaptureFixture
) -> None:
    worker, _ = on(worker_config(tmp_path), scorer)
    first = planned(0)
    name = first.source.class_name
    cut = f"a picture of a {name} {'on snow ' * 9}on snow"
    lost = f"a picture {'on snow ' * 9}of a {name}"
    good = replace(first, variants=(replace(first.variants[0], prompt=cut),))
    bad = replace(planned(1), variants=(replace(first.variants[0], prompt=lost.replace(name, "owl")),))
    bad = replace(bad, source=replace(bad.source, class_name="owl"))
    report = worker.run_unit(UnitTask(Unit("u000001", (good, bad))))
    assert (report.edited, report.failed) == (1, 1)
    found = records(tmp_path, report)[f"{bad.source.key}-v00"]
    assert (found.stage, found.reason) == (
        "edit",
        f"PromptError: the model does not read the class 'owl' in {bad.variants[0].prompt!r}",
    )
    said = [record.getMessage() for record in caplog.records if record.name == "augment.run.editor"]
    assert len(said) == 1
    assert f"of {cut!r} tokenizer reads" in said[0]


def test_what_half_precision_cannot_hold_is_made_again_in_float32(tmp_path: Path, scorer: EditScorer) -> None:
    half, model = on(worker_config(tmp_path, dtype="float16"), scorer)
    report = half.run_unit(UnitTask(replace(UNIT, sources=UNIT.sources[:1])))
    assert {r.dtype for r in records(tmp_path, report).values()} == {"float16"}
    model.network.conv_in.weight.data *= 3e4  # finite itself, but not what it gives
    before = {name: tensor.clone() for name, tensor in model.network.state_dict().items()}
    report = half.run_unit(ONE)
    assert (report.edited, report.failed) == (2, 0)
    found = records(tmp_path, report).values()
    assert {r.dtype for r in found} == {"float32"}
    assert model.dtype == model.network.dtype == model.vae.dtype == torch.float16
    assert all(torch.equal(before[name], tensor) for name, tensor in model.network.state_dict().items())


def test_what_float32_cannot_hold_either_is_a_failed_edit(tmp_path: Path, scorer: EditScorer) -> None:
    half, model = on(worker_config(tmp_path, dtype="bfloat16"), scorer)
    model.network.conv_in.weight.data *= torch.nan
    report = half.run_unit(ONE)
    assert (report.edited, report.failed_by_stage) == (0, {"invert": 2})
    assert {r.dtype for r in records(tmp_path, report).values()} == {"float32"}


def test_no_memory_for_float32_fails_the_image_and_no_other(
    tmp_path: Path, scorer: EditScorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    half, model = on(worker_config(tmp_path, dtype="bfloat16"), scorer)
    encode = model.encode
    calls: list[tuple[int, torch.dtype]] = []

    def nan_in_the_second(images: Tensor) -> Tensor:
        calls.append((len(images), model.dtype))
        if model.dtype == torch.float32:
            raise torch.OutOfMemoryError("CUDA out of memory")
        latents = encode(images)
        return torch.cat([latents[:1], latents[1:2] * torch.nan, latents[2:]])

    monkeypatch.setattr(model, "encode", nan_in_the_second)
    report = half.run_unit(TASK)
    assert calls == [(4, torch.bfloat16), (1, torch.float32)]
    assert (report.edited, report.failed, report.batch_size) == (6, 2, 4)
    assert model.dtype == model.network.dtype == torch.bfloat16
