"""Edits in parts: the same bytes whatever is made together, and fewer at once where memory runs out."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from augment.dataset.parts import read_part
from augment.editing import EditConfig
from augment.editing.inverted import in_parts
from augment.ledger.ledger import Ledger
from augment.models.load import load_model
from augment.run.editor import DiffusionEditor, load_editor, load_scorer
from augment.types import Unit, UnitTask, Variant
from tests.run.workers import TASK, make_worker, planned, worker_config

ROOT = Path(__file__).parents[2]
EDITING: dict[str, Any] = {"num_steps": 4, "strength": 0.75}
KEEPING = {**EDITING, "preserve": "attention", "self_replace_steps": 1.0}
CHOOSING = {
    **EDITING,
    "candidates": {"settings": [{"strength": 0.5}, {"guidance_scale": 5.0}], "min_text_alignment": 0.3},
}


def test_parts_keep_the_order_and_have_a_list_for_each_image() -> None:
    prompts = [["a", "b", "c"], [], ["d"]]
    assert in_parts(prompts, None) == [prompts] == in_parts(prompts, 4)
    assert in_parts(prompts, 2) == [[["a", "b"], [], []], [["c"], [], ["d"]]]
    assert in_parts(prompts, 1) == [[["a"], [], []], [["b"], [], []], [["c"], [], []], [[], [], ["d"]]]
    assert in_parts([[], []], 2) == [[[], []]]


def files(out: Path, editing: dict[str, Any], at_once: int | None, task: UnitTask = TASK) -> list[bytes]:
    config = worker_config(out).model_copy(
        update={"editing": EditConfig.model_validate(editing), "max_edits_at_once": at_once}
    )
    report = make_worker(config, load_editor).run_unit(task)
    assert report.failed == 0
    return [bytes(picture) for _, picture in read_part(Ledger(out), report)]


@pytest.mark.parametrize(
    ("editing", "in_parts_of"),
    [
        pytest.param(EDITING, (1, 3), id="plain", marks=pytest.mark.slow),
        pytest.param(KEEPING, (3,), id="keeping"),
        pytest.param(KEEPING, (1,), id="keeping, one by one", marks=pytest.mark.slow),
        pytest.param(CHOOSING, (1, 3), id="choosing", marks=pytest.mark.slow),
    ],
)
def test_edits_and_records_are_the_same_whatever_is_made_together(
    editing: dict[str, Any], in_parts_of: tuple[int, ...], tmp_path: Path
) -> None:
    whole = files(tmp_path / "whole", editing, None)
    assert len(whole) == 8 and len(set(whole)) == 8
    for at_once in in_parts_of:
        assert files(tmp_path / f"{at_once}", editing, at_once) == whole


@pytest.mark.slow
def test_where_memory_runs_out_fewer_are_made_at_once_and_the_bytes_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A decoder without room for more than six pictures: of 20 edits ten, and then five, are made together."""
    one = planned(0)
    variants = tuple(Variant(i, f"{one.variants[i % 2].prompt}{' at night' * (i // 2)}"[:60]) for i in range(20))
    task = UnitTask(Unit("u000000", (replace(one, variants=variants),)))
    whole = files(tmp_path / "whole", KEEPING, None, task)
    config = worker_config(tmp_path / "little").model_copy(update={"editing": EditConfig.model_validate(KEEPING)})
    model = load_model(config.model)
    decode, asked = model.decode, list[int]()

    def with_little_memory(latents: Tensor) -> Tensor:
        asked.append(len(latents))
        if len(latents) > 6:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate")
        return decode(latents)

    monkeypatch.setattr(model, "decode", with_little_memory)
    editor = DiffusionEditor(config, model, load_scorer(config))
    editor.limit_rows(config.batch_size)
    worker = make_worker(config, lambda _: editor)
    report = worker.run_unit(task)
    assert report.failed == 0 and report.batch_size == config.batch_size, "the images were not fewer"
    assert [bytes(picture) for _, picture in read_part(Ledger(tmp_path / "little"), report)] == whole
    assert [n for n in asked if n > 1] == [20, 10, 5, 5, 5, 5]
    said = [r.getMessage() for r in caplog.records if "at once from now on" in r.getMessage()]
    assert said == [f"memory ran out; edits are made {n} at once from now on" for n in (10, 5)]


MANY = """
import json, sys
from pathlib import Path
from augment.editing import EditConfig
from augment.models.load import load_model
from augment.run.editor import load_editor
from augment.types import Unit, UnitTask, Variant
from dataclasses import replace
from tests.peak_memory import peak_bytes, reset_peak
from tests.run.workers import make_worker, planned, worker_config

out = Path(sys.argv[1])
editing = EditConfig(num_steps=4, strength=0.75, preserve="attention", self_replace_steps=1.0)
worker = make_worker(worker_config(out).model_copy(update={"editing": editing}), load_editor)
peaks = []
for unit, count in (("u000000", 1), ("u000001", 200)):
    one = planned(0)
    places = ("on snow", "in a city", "in a desert", "on the ocean")
    texts = [f"a picture of a {one.source.class_name} {places[i % 4]}" for i in range(count)]
    reset_peak()
    report = worker.run_unit(UnitTask(Unit(unit, (replace(one, variants=tuple(map(Variant, range(count), texts))),))))
    assert (report.edited, report.failed) == (count, 0)
    peaks.append(peak_bytes())
print(json.dumps(peaks))
"""


@pytest.mark.slow
def test_two_hundred_edits_of_one_image_take_little_more_memory_than_one(tmp_path: Path) -> None:
    found = subprocess.run(
        [sys.executable, "-c", MANY, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    one, many = json.loads(found.stdout.splitlines()[-1])
    assert many - one < 512 * 2**20
