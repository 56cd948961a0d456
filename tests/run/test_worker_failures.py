"""A worker whose editor has too little memory, refuses an image, breaks, or edits suspects: no models are needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from augment.ledger.ledger import Ledger
from augment.run.batch import DecodedImage, RawEdits
from augment.run.batch_sizes import KnownBatchSize
from augment.run.simulate import SimulatedEditor
from augment.run.worker_config import WorkerConfig
from augment.types import Unit, UnitTask
from tests.run.workers import SOURCES, TASK, UNIT, in_flight, make_worker, planned, records, worker_config


class SmallMemory(SimulatedEditor):
    """An editor on a device with room for only so many images."""

    def __init__(self, config: WorkerConfig, room: int, error: Exception) -> None:
        super().__init__(config)
        self.room, self.error = room, error
        self.sizes: list[int] = []
        self.rows: list[int] = []

    def limit_rows(self, rows: int) -> None:
        self.rows.append(rows)

    def edit(self, batch: Sequence[DecodedImage]) -> list[RawEdits]:
        self.sizes.append(len(batch))
        if len(batch) > self.room:
            raise self.error
        return super().edit(batch)


class Picky(SimulatedEditor):
    """An editor that refuses one image."""

    def edit(self, batch: Sequence[DecodedImage]) -> list[RawEdits]:
        if any(image.planned.source.key == SOURCES[2].key for image in batch):
            raise ValueError("I do not like this one")
        return super().edit(batch)


class Watched(SimulatedEditor):
    """An editor that notes what the in-flight file says at each batch."""

    def __init__(self, config: WorkerConfig) -> None:
        super().__init__(config)
        self.out = Path(config.output)
        self.seen: list[tuple[list[str], bool, list[str]]] = []

    def edit(self, batch: Sequence[DecodedImage]) -> list[RawEdits]:
        content = in_flight(self.out)
        self.seen.append((content["keys"], content["alone"], content["cleared"]))
        assert {image.planned.source.key for image in batch} == set(content["keys"])
        return super().edit(batch)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)
def test_out_of_memory_halves_the_batch_and_remembers(tmp_path: Path, error: Exception) -> None:
    small = SmallMemory(worker_config(tmp_path), 2, error)
    worker = make_worker(worker_config(tmp_path), lambda _: small)
    report = worker.run_unit(TASK)
    assert (report.edited, report.failed, report.batch_size) == (8, 0, 2)
    assert (small.sizes, small.rows) == ([4, 2, 2], [2])
    small.sizes.clear()
    worker.run_unit(UnitTask(replace(UNIT, unit_id="u000001")))
    assert small.sizes == [2, 2]


def test_what_had_memory_is_remembered_for_workers_of_this_kind_of_device(tmp_path: Path) -> None:
    config = worker_config(tmp_path).model_copy(update={"remember_batch_size": True})
    editors = [SmallMemory(config, room, MemoryError("no")) for room in (2, 2, 2, 1)]
    make_worker(config, lambda _: editors[0]).run_unit(TASK)
    assert editors[0].sizes == [4, 2, 2]
    # Another worker, or another run: it begins where the first has ended, and its networks with as many rows.
    make_worker(config, lambda _: editors[1]).run_unit(UnitTask(replace(UNIT, unit_id="u000001")))
    assert (editors[1].sizes, editors[1].rows) == ([2, 2], [2])
    # Other settings of the edits, or another device, need other memory.
    other = config.model_copy(update={"pixels_hash": "other"})
    make_worker(other, lambda _: editors[2]).run_unit(UnitTask(replace(UNIT, unit_id="u000002")))
    assert editors[2].sizes == [4, 2, 2]
    editors[3].device_kind = "a smaller one"
    make_worker(config, lambda _: editors[3]).run_unit(UnitTask(replace(UNIT, unit_id="u000003")))
    assert editors[3].sizes[:2] == [4, 2]
    assert len(list((tmp_path / "run" / "batch_size").iterdir())) == 3


@pytest.mark.parametrize("content", ["", "{", "[]", '{"batch_size": 0}', '{"batch_size": "2"}'])
def test_a_damaged_note_of_the_batch_size_is_as_none(tmp_path: Path, content: str) -> None:
    config = worker_config(tmp_path).model_copy(update={"remember_batch_size": True})
    known = KnownBatchSize(Ledger(tmp_path).store, "simulated", "pixels")
    known.write(3)
    (file,) = (tmp_path / "run" / "batch_size").iterdir()
    file.write_text(content)
    assert known.read() is None
    editor = SmallMemory(config, 2, MemoryError("no"))
    make_worker(config, lambda _: editor).run_unit(TASK)
    assert editor.sizes == [4, 2, 2] and known.read() == 2
    known.write(3)
    assert known.read() == 2  # what is known to have no memory stays so


def test_no_memory_for_a_single_image_fails_it(tmp_path: Path) -> None:
    editor = partial(SmallMemory, room=0, error=MemoryError("12345 bytes"))
    report = make_worker(worker_config(tmp_path), editor).run_unit(TASK)
    assert (report.edited, report.failed) == (0, 8)
    reasons = {(r.stage, r.reason) for r in records(tmp_path, report).values()}
    assert reasons == {("edit", "out of memory with a single image")}


def test_an_error_in_a_batch_is_narrowed_down_to_one_image(tmp_path: Path) -> None:
    report = make_worker(worker_config(tmp_path), Picky).run_unit(TASK)
    assert (report.edited, report.failed) == (6, 2)
    assert report.batch_size == 4  # no reason to go slower
    failed = [r for r in records(tmp_path, report).values() if r.status == "failed"]
    assert {r.source_key for r in failed} == {SOURCES[2].key}
    assert {r.reason for r in failed} == {"ValueError: I do not like this one"}


def test_a_broken_device_ends_the_process_not_the_image(tmp_path: Path) -> None:
    error = RuntimeError("CUDA error: an illegal memory access was encountered")
    worker = make_worker(worker_config(tmp_path), partial(SmallMemory, room=0, error=error))
    with pytest.raises(RuntimeError, match="illegal memory access"):
        worker.run_unit(TASK)
    assert Ledger(tmp_path).committed() == {}
    assert in_flight(tmp_path)["keys"] == [p.source.key for p in UNIT.sources]  # who was there


def test_suspects_are_tried_alone_and_change_no_byte(tmp_path: Path) -> None:
    watched = Watched(worker_config(tmp_path))
    worker = make_worker(worker_config(tmp_path), lambda _: watched)
    normal = worker.run_unit(TASK)
    (tmp_path / "commits" / "u000000.json").unlink()
    watched.seen.clear()
    keys = [p.source.key for p in UNIT.sources]
    report = worker.run_unit(UnitTask(UNIT, alone=(keys[2], keys[0])))
    assert watched.seen == [
        ([keys[2]], True, []),
        ([keys[0]], True, [keys[2]]),
        (keys, False, [keys[2], keys[0]]),
    ]
    assert report.sha256 == normal.sha256
    assert report.part != normal.part
    assert not list((tmp_path / "run" / "in_flight").iterdir())


def test_a_quarantined_input_is_not_touched(tmp_path: Path) -> None:
    key = SOURCES[1].key
    watched = Watched(worker_config(tmp_path))
    worker = make_worker(worker_config(tmp_path), lambda _: watched)
    report = worker.run_unit(UnitTask(UNIT, quarantined={key: "killed its worker 2 times, alone"}))
    assert [seen for seen, _, _ in watched.seen] == [[SOURCES[i].key for i in (0, 2, 3)]]
    assert (report.edited, report.failed, report.failed_by_stage) == (6, 2, {"quarantine": 2})
    assert report.failed_by_class == {SOURCES[1].class_name: 2}
    assert sum(report.planned_by_class.values()) == 8
    record = records(tmp_path, report)[f"{key}-v00"]
    assert (record.status, record.reason) == ("failed", "killed its worker 2 times, alone")


def test_a_task_may_limit_the_batch_for_itself_only(tmp_path: Path) -> None:
    roomy = SmallMemory(worker_config(tmp_path), 4, MemoryError())
    worker = make_worker(worker_config(tmp_path), lambda _: roomy)
    worker.run_unit(UnitTask(UNIT, batch_size=3))
    worker.run_unit(UnitTask(replace(UNIT, unit_id="u000001"), batch_size=9))
    assert (roomy.sizes, roomy.rows) == ([3, 1, 4], [3, 4])


def test_a_unit_that_another_worker_committed_first_is_reported_as_its(tmp_path: Path) -> None:
    worker = make_worker(worker_config(tmp_path), SimulatedEditor)
    unit = Unit("u000000", (planned(0, locator=str(tmp_path / "missing.png")),))
    first = worker.run_unit(UnitTask(unit))
    assert worker.run_unit(UnitTask(unit)) == first
    assert [p.name for p in (tmp_path / "parts").iterdir()] == [first.part]


def test_a_replacing_task_counts_instead_of_the_first(tmp_path: Path) -> None:
    worker = make_worker(worker_config(tmp_path), SimulatedEditor)
    first = worker.run_unit(UnitTask(UNIT, quarantined={SOURCES[0].key: "for a test"}))
    (tmp_path / "plan" / "plan.json").unlink()  # only its name was needed, and only by setup()
    second = worker.run_unit(UnitTask(UNIT, attempt="1", replaces=True))
    assert (first.failed, second.failed) == (2, 0)
    assert Ledger(tmp_path).committed() == {"u000000": second}
