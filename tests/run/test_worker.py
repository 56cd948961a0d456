from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from augment.dataset.parts import read_part, read_reconstructions
from augment.dataset.record import EDITED, EditRecord
from augment.editing import EditConfig
from augment.errors import OutputError
from augment.inputs.readers import list_sources
from augment.ledger.ledger import Ledger
from augment.models.config import ClipConfig, ModelConfig
from augment.run.batch import DecodedImage, RawEdits
from augment.run.config import WorkerConfig
from augment.run.worker import Worker
from augment.storage.tar import sha256_file, write_bytes_atomic
from augment.tiny.dataset import split_path
from augment.tiny.world import CLASSES
from augment.types import (
    PlannedSource,
    Unit,
    UnitReport,
    UnitTask,
    Variant,
)

SOURCES = list_sources(split_path("val"), "webdataset")[:4]


def planned(index: int, **changes: Any) -> PlannedSource:
    source = replace(SOURCES[index], **changes)
    prompts = (f"a picture of a {source.class_name} on snow", f"a picture of a {source.class_name} in a city at night")
    return PlannedSource(source, source.caption, tuple(Variant(i, p) for i, p in enumerate(prompts)))


UNIT = Unit("u000000", tuple(planned(i) for i in range(4)))
TASK = UnitTask(UNIT)


def worker_config(out: Path, batch_size: int = 4) -> WorkerConfig:
    """For a folder that has a plan, as far as a worker looks."""
    write_bytes_atomic(out / "plan" / "plan.json", b"{}")
    return WorkerConfig(
        model=ModelConfig(),
        editing=EditConfig(num_steps=4),
        clip=ClipConfig(),
        image_size=64,
        class_names=dict(enumerate(CLASSES)),
        seed=0,
        config_hash="hash",
        output=str(out),
        batch_size=batch_size,
        threads=1,
    )


def make_worker(out: Path, batch_size: int = 4) -> Worker:
    worker = Worker(worker_config(out, batch_size))
    worker.setup()
    return worker


def records(out: Path, report: UnitReport) -> dict[str, EditRecord]:
    return {record.key: record for record, _ in read_part(Ledger(out), report)}


@pytest.fixture
def worker(tmp_path: Path) -> Worker:
    return make_worker(tmp_path)


def test_a_unit_is_edited_scored_and_committed(worker: Worker, tmp_path: Path) -> None:
    report = worker.run_unit(TASK)
    assert Ledger(tmp_path).committed() == {"u000000": report}
    assert (report.planned, report.edited, report.failed, report.inverted) == (8, 8, 0, 4)
    assert sha256_file(tmp_path / "parts" / report.part) == report.sha256
    assert report.plan == "hash"
    found = records(tmp_path, report)
    assert list(found) == [f"{p.source.key}-v0{v}" for p in UNIT.sources for v in (0, 1)]
    assert {record.status for record in found.values()} == {EDITED}
    first = found[f"{SOURCES[0].key}-v00"]
    assert (first.num_steps, first.label, first.source_prompt) == (4, SOURCES[0].label, SOURCES[0].caption)
    assert first.solver == "rnri_secant"
    assert json.loads(first.solver_settings).keys() == {
        "prior_weight",
        "memory",
        "ridge",
        "extrapolation",
        "stop",
    }
    assert 0.0 <= first.label_probability <= 1.0
    assert -1.0 <= first.source_similarity <= 1.0
    assert 5.0 < first.reconstruction_psnr <= first.vae_psnr + 1.0
    assert report.psnr_sum == pytest.approx(sum(r.reconstruction_psnr for k, r in found.items() if k.endswith("v00")))
    assert len({record.aug_id for record in found.values()}) == 8
    assert list(read_reconstructions(Ledger(tmp_path), report)) == [p.source.key for p in UNIT.sources]


def test_the_same_unit_gives_the_same_bytes_whatever_ran_before(worker: Worker, tmp_path: Path) -> None:
    before = worker.run_unit(UnitTask(Unit("u000001", (planned(3), planned(1)))))
    report = worker.run_unit(TASK)
    fresh = make_worker(tmp_path / "fresh").run_unit(TASK)
    assert fresh.sha256 == report.sha256
    assert before.sha256 != report.sha256


def test_an_edit_does_not_depend_on_its_place(worker: Worker, tmp_path: Path) -> None:
    alone = records(tmp_path, worker.run_unit(UnitTask(Unit("u000001", (planned(2),)))))
    together = records(tmp_path, worker.run_unit(TASK))
    for key, record in alone.items():
        assert together[key].aug_id == record.aug_id
        assert together[key].reconstruction_psnr == pytest.approx(record.reconstruction_psnr, abs=0.01)


def test_a_unit_that_another_worker_committed_first_is_reported_as_its(worker: Worker, tmp_path: Path) -> None:
    unit = Unit("u000000", (planned(0, locator=str(tmp_path / "missing.png")),))
    first = worker.run_unit(UnitTask(unit))
    assert worker.run_unit(UnitTask(unit)) == first
    assert [p.name for p in (tmp_path / "parts").iterdir()] == [first.part]


def test_bad_images_cost_themselves_only(worker: Worker, tmp_path: Path) -> None:
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "text.png").write_bytes(b"no picture at all")
    unit = Unit(
        "u000000",
        (
            planned(0),
            planned(1, locator=str(tmp_path / "empty.png")),
            planned(2, locator=str(tmp_path / "missing.png")),
            planned(3, locator=str(tmp_path / "text.png")),
        ),
    )
    report = worker.run_unit(UnitTask(unit))
    assert (report.planned, report.edited, report.failed, report.inverted) == (8, 2, 6, 1)
    found = records(tmp_path, report)
    assert list(found) == [f"{p.source.key}-v0{v}" for p in unit.sources for v in (0, 1)]
    stages = {key: (r.status, r.stage) for key, r in found.items()}
    assert stages[f"{SOURCES[0].key}-v01"] == (EDITED, "")
    assert stages[f"{SOURCES[1].key}-v00"] == ("failed", "decode")
    assert stages[f"{SOURCES[2].key}-v01"] == ("failed", "read")
    assert stages[f"{SOURCES[3].key}-v00"] == ("failed", "decode")
    assert found[f"{SOURCES[1].key}-v00"].reason == "the file has zero bytes"
    assert len(found[f"{SOURCES[1].key}-v00"].source_sha256) == 64
    assert {(r.seed, r.model_id) for r in found.values()} == {(0, "embedded")}
    # The same input in another folder must give the same record.
    assert found[f"{SOURCES[2].key}-v00"].reason == f"{SOURCES[2].key}: No such file or directory"


def test_nan_costs_the_image_it_is_in(worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = worker._editor._model
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


class SmallMemory:
    """A batch editor on a device with room for only so many images."""

    def __init__(self, editor: Any, room: int, error: Exception) -> None:
        self.editor, self.room, self.error = editor, room, error
        self.sizes: list[int] = []

    def edit(self, batch: list[Any]) -> Any:
        self.sizes.append(len(batch))
        if len(batch) > self.room:
            raise self.error
        return self.editor.edit(batch)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)
def test_out_of_memory_halves_the_batch_and_remembers(worker: Worker, error: Exception) -> None:
    small = SmallMemory(worker._editor, 2, error)
    worker._editor = small
    report = worker.run_unit(TASK)
    assert (report.edited, report.failed, report.batch_size) == (8, 0, 2)
    assert small.sizes == [4, 2, 2]
    small.sizes.clear()
    worker.run_unit(UnitTask(replace(UNIT, unit_id="u000001")))
    assert small.sizes == [2, 2]


def test_no_memory_for_a_single_image_fails_it(worker: Worker, tmp_path: Path) -> None:
    worker._editor = SmallMemory(worker._editor, 0, MemoryError("12345 bytes"))
    report = worker.run_unit(TASK)
    assert (report.edited, report.failed) == (0, 8)
    reasons = {(r.stage, r.reason) for r in records(tmp_path, report).values()}
    assert reasons == {("edit", "out of memory with a single image")}


def test_an_error_in_a_batch_is_narrowed_down_to_one_image(worker: Worker, tmp_path: Path) -> None:
    editor = worker._editor

    class Picky:
        def edit(self, batch: list[Any]) -> Any:
            if any(image.planned.source.key == SOURCES[2].key for image in batch):
                raise ValueError("I do not like this one")
            return editor.edit(batch)

    worker._editor = Picky()
    report = worker.run_unit(TASK)
    assert (report.edited, report.failed) == (6, 2)
    assert worker._batch_size == 4  # no reason to go slower
    failed = [r for r in records(tmp_path, report).values() if r.status == "failed"]
    assert {r.source_key for r in failed} == {SOURCES[2].key}
    assert {r.reason for r in failed} == {"ValueError: I do not like this one"}


def test_a_broken_device_ends_the_process_not_the_image(worker: Worker, tmp_path: Path) -> None:
    error = RuntimeError("CUDA error: an illegal memory access was encountered")
    worker._editor = SmallMemory(worker._editor, 0, error)
    with pytest.raises(RuntimeError, match="illegal memory access"):
        worker.run_unit(TASK)
    assert Ledger(tmp_path).committed() == {}
    assert journal(tmp_path)["keys"] == [p.source.key for p in UNIT.sources]  # who was there


def journal(out: Path, name: str = "u000000-0") -> dict[str, Any]:
    content: dict[str, Any] = json.loads((out / "run" / "journal" / f"{name}.json").read_bytes())
    return content


class Watched:
    """A batch editor that notes the journal at each batch."""

    def __init__(self, editor: Any, out: Path) -> None:
        self.editor, self.out = editor, out
        self.seen: list[tuple[list[str], bool, list[str]]] = []

    def edit(self, batch: list[Any]) -> Any:
        content = journal(self.out)
        self.seen.append((content["keys"], content["alone"], content["cleared"]))
        assert {image.planned.source.key for image in batch} == set(content["keys"])
        return self.editor.edit(batch)


def test_an_output_that_this_machine_does_not_see(tmp_path: Path) -> None:
    config = worker_config(tmp_path)
    (tmp_path / "plan" / "plan.json").unlink()
    with pytest.raises(OutputError, match=r"has no plan as seen from .*name a folder that all machines share"):
        Worker(config).setup()


def test_suspects_are_tried_alone_and_change_no_byte(worker: Worker, tmp_path: Path) -> None:
    normal = worker.run_unit(TASK)
    (tmp_path / "commits" / "u000000.json").unlink()
    watched = Watched(worker._editor, tmp_path)
    worker._editor = watched
    keys = [p.source.key for p in UNIT.sources]
    report = worker.run_unit(UnitTask(UNIT, alone=(keys[2], keys[0])))
    assert watched.seen == [
        ([keys[2]], True, []),
        ([keys[0]], True, [keys[2]]),
        (keys, False, [keys[2], keys[0]]),
    ]
    assert report.sha256 == normal.sha256
    assert report.part != normal.part
    assert not list((tmp_path / "run" / "journal").iterdir())


def test_a_quarantined_input_is_not_touched(worker: Worker, tmp_path: Path) -> None:
    key = SOURCES[1].key
    watched = Watched(worker._editor, tmp_path)
    worker._editor = watched
    report = worker.run_unit(UnitTask(UNIT, quarantined={key: "killed its worker 2 times, alone"}))
    assert [seen for seen, _, _ in watched.seen] == [[SOURCES[i].key for i in (0, 2, 3)]]
    assert (report.edited, report.failed, report.failed_by_stage) == (6, 2, {"quarantine": 2})
    assert report.failed_by_class == {SOURCES[1].class_name: 2}
    assert sum(report.planned_by_class.values()) == 8
    record = records(tmp_path, report)[f"{key}-v00"]
    assert (record.status, record.reason) == ("failed", "killed its worker 2 times, alone")


def test_a_task_may_limit_the_batch_for_itself_only(worker: Worker) -> None:
    small = SmallMemory(worker._editor, 4, MemoryError())
    worker._editor = small
    worker.run_unit(UnitTask(UNIT, batch_size=3))
    worker.run_unit(UnitTask(replace(UNIT, unit_id="u000001"), batch_size=9))
    assert small.sizes == [3, 1, 4]


def test_a_replacing_task_counts_instead_of_the_first(worker: Worker, tmp_path: Path) -> None:
    first = worker.run_unit(UnitTask(UNIT, quarantined={SOURCES[0].key: "for a test"}))
    (tmp_path / "plan" / "plan.json").unlink()  # only its name was needed, and only by setup()
    second = worker.run_unit(UnitTask(UNIT, attempt="1", replaces=True))
    assert (first.failed, second.failed) == (2, 0)
    assert Ledger(tmp_path).committed() == {"u000000": second}


def test_two_units_at_once_give_the_bytes_of_one_after_the_other(worker: Worker, tmp_path: Path) -> None:
    tasks = [UnitTask(Unit(f"u00000{i}", (planned(i), planned(i + 1)))) for i in range(3)]
    single = make_worker(tmp_path / "single")
    one_by_one = [single.run_unit(task).sha256 for task in tasks]
    with ThreadPoolExecutor(2) as threads:
        reports = list(threads.map(worker.run_unit, tasks))
    assert [report.sha256 for report in reports] == one_by_one
    assert set(reports[2].seconds) == {"alone", "read", "wait", "idle", "model", "encode", "write"}


def test_what_half_precision_cannot_hold_is_made_again_in_float32(tmp_path: Path) -> None:
    config = worker_config(tmp_path)
    half = Worker(config.model_copy(update={"model": ModelConfig(dtype="float16")}))
    half.setup()
    report = half.run_unit(UnitTask(replace(UNIT, sources=UNIT.sources[:1])))
    assert {r.dtype for r in records(tmp_path, report).values()} == {"float16"}
    model: Any = half._editor._model  # type: ignore[attr-defined]
    model.network.conv_in.weight.data *= 3e4  # finite itself, but not what it gives
    before = {name: tensor.clone() for name, tensor in model.network.state_dict().items()}
    report = half.run_unit(UnitTask(replace(UNIT, unit_id="u000001", sources=UNIT.sources[:1])))
    assert (report.edited, report.failed) == (2, 0)
    found = records(tmp_path, report).values()
    assert {r.dtype for r in found} == {"float32"}
    assert model.dtype == model.network.dtype == model.vae.dtype == torch.float16
    assert all(torch.equal(before[name], tensor) for name, tensor in model.network.state_dict().items())


def test_what_float32_cannot_hold_either_is_a_failed_edit(tmp_path: Path) -> None:
    half = Worker(worker_config(tmp_path).model_copy(update={"model": ModelConfig(dtype="bfloat16")}))
    half.setup()
    half._editor._model.network.conv_in.weight.data *= torch.nan  # type: ignore[attr-defined]
    report = half.run_unit(UnitTask(replace(UNIT, sources=UNIT.sources[:1])))
    assert (report.edited, report.failed_by_stage) == (0, {"invert": 2})
    assert {r.dtype for r in records(tmp_path, report).values()} == {"float32"}


def test_no_memory_for_float32_fails_the_image_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = worker_config(tmp_path).model_copy(update={"model": ModelConfig(dtype="bfloat16")})
    half = Worker(config)
    half.setup()
    editor: Any = half._editor
    edit = editor._edit
    dtypes: list[tuple[int, str]] = []

    def nan_in_the_second(batch: Sequence[DecodedImage], dtype: str) -> list[RawEdits]:
        dtypes.append((len(batch), dtype))
        if dtype == "float32":
            raise torch.OutOfMemoryError("CUDA out of memory")
        results: list[RawEdits] = edit(batch, dtype)
        ruined = replace(results[1], measured=results[1].measured | {"reconstruction_psnr": float("nan")})
        return [results[0], ruined, *results[2:]]

    monkeypatch.setattr(editor, "_edit", nan_in_the_second)
    report = half.run_unit(TASK)
    assert dtypes == [(4, "bfloat16"), (1, "float32")]
    assert (report.edited, report.failed, report.batch_size) == (6, 2, 4)
    assert editor._model.dtype == editor._model.network.dtype == torch.bfloat16
