"""Workers on four pictures of the embedded validation split, with whatever editor a test gives them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from augment.dataset.parts import read_part
from augment.dataset.record import EditRecord
from augment.editing import EditConfig
from augment.inputs.readers import list_sources
from augment.ledger.ledger import Ledger
from augment.models.config import ClipConfig, ModelConfig
from augment.run.worker import Editor, Worker
from augment.run.worker_config import WorkerConfig
from augment.storage.tar import write_bytes_atomic
from augment.tiny.dataset import split_path
from augment.tiny.world import CLASSES
from augment.types import PlannedSource, Unit, UnitReport, UnitTask, Variant

SOURCES = list_sources(split_path("val"), "webdataset").sources[:4]


def planned(index: int, **changes: Any) -> PlannedSource:
    """Return one of the four sources, changed if need be, with two edits planned."""
    source = replace(SOURCES[index], **changes)
    prompts = (f"a picture of a {source.class_name} on snow", f"a picture of a {source.class_name} in a city at night")
    return PlannedSource(source, source.caption, tuple(Variant(i, p) for i, p in enumerate(prompts)))


UNIT = Unit("u000000", tuple(planned(i) for i in range(4)))
TASK = UnitTask(UNIT)


def worker_config(out: Path, batch_size: int = 4, dtype: str = "float32") -> WorkerConfig:
    """Return the settings of a worker on a folder that has a plan, as far as a worker looks."""
    write_bytes_atomic(out / "plan" / "plan.json", b"{}")
    return WorkerConfig(
        model=ModelConfig.model_validate({"dtype": dtype}),
        editing=EditConfig(num_steps=4),
        clip=ClipConfig(),
        image_size=64,
        class_names=dict(enumerate(CLASSES)),
        seed=0,
        config_hash="hash",
        pixels_hash="pixels",
        output=str(out),
        batch_size=batch_size,
        threads=1,
    )


def make_worker(config: WorkerConfig, make_editor: Callable[[WorkerConfig], Editor]) -> Worker:
    """Return a worker that is set up."""
    worker = Worker(config, make_editor)
    worker.setup()
    return worker


def records(out: Path, report: UnitReport) -> dict[str, EditRecord]:
    """Return the records of a committed unit by key."""
    return {record.key: record for record, _ in read_part(Ledger(out), report)}


def in_flight(out: Path, name: str = "u000000-0") -> dict[str, Any]:
    """Return the content of an attempt's in-flight file."""
    content: dict[str, Any] = json.loads((out / "run" / "in_flight" / f"{name}.json").read_bytes())
    return content
