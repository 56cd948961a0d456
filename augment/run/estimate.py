"""What a run will cost in disk, time and money: arithmetic on what a preview measured, or on stated assumptions."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from augment.run.config import ExpandConfig
from augment.storage.store import Store

PREVIEW_FOLDER, PREVIEW_FILE = "preview", "preview.json"
# Without a preview: what photographs need as PNG, and a record with the headers of its four files in a tar.
PNG_BYTES_PER_PIXEL, SAMPLE_BYTES = 2.0, 5120
# What changes neither the time nor the bytes of an edit.
_NO_MATTER = ("input.count", "input.listing", "run.unit_size")


class Measured(BaseModel):
    """`preview.json`: what the edits of a preview cost.

    "In all" is a worker that does one thing after the other. With several units in flight it reads and writes while
    the model is at work, so a run takes between the two times.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    images: int = Field(description="sources that were edited")
    edits: int = Field(gt=0, description="edits made of them, failed ones not counted")
    seconds_per_edit: float = Field(description="of one worker, in all")
    model_seconds_per_edit: float = Field(description="of these, in the model")
    setup_seconds: float = Field(description="until a worker is ready, once per worker")
    part_bytes_per_edit: float = Field(description="in parts/")
    shard_bytes_per_edit: float = Field(description="in shards/ or rejected/")
    device: str = Field(description="what it ran on")
    settings: dict[str, Any] = Field(description="everything that the figures depend on")


def relevant_settings(fingerprint: Mapping[str, Any], config: ExpandConfig) -> dict[str, Any]:
    """What the cost of an edit depends on: the plan's fingerprint without the listing of its input, and the machine."""
    kept = {key: value for key, value in fingerprint.items() if key not in _NO_MATTER}
    run = {"batch_size": config.run.batch_size, "threads_per_worker": config.run.threads_per_worker}
    machine = {"model.device": config.model.device, **{f"run.{key}": value for key, value in run.items()}}
    plain: dict[str, Any] = json.loads(json.dumps(kept | machine))  # as it is read back: lists, no tuples
    return plain


def read_measured(store: Store) -> Measured | None:
    """What the preview in this folder measured; None if there is none, or it did not end."""
    try:
        return Measured.model_validate_json(store.read(PREVIEW_FILE))
    except (FileNotFoundError, NotADirectoryError, ValidationError):
        return None


@dataclass(frozen=True)
class Disk:
    """Bytes of a finished output folder; `basis` says where the figures come from."""

    parts: int
    shards: int
    basis: str

    @property
    def total(self) -> int:
        return self.parts + self.shards


def disk(images: int, edits: int, image_size: int, measured: Measured | None) -> Disk:
    """Parts and shards; every edit is in both. Reconstructions are in the parts only."""
    if measured:
        basis = f"measured in a preview of {measured.images} images"
        return Disk(round(edits * measured.part_bytes_per_edit), round(edits * measured.shard_bytes_per_edit), basis)
    picture = round(image_size**2 * PNG_BYTES_PER_PIXEL)
    shards = edits * (picture + SAMPLE_BYTES)
    basis = f"assumed: {PNG_BYTES_PER_PIXEL:g} bytes per pixel, and {SAMPLE_BYTES} bytes around each picture"
    return Disk(shards + images * (picture + SAMPLE_BYTES), shards, basis)


@dataclass(frozen=True)
class Work:
    """Time of a run.

    Attributes:
        worker_hours: of all workers together, loading the model included (once, if their number is not known);
            GPU-hours if the workers have one each.
        hours: from start to end; None if the number of workers is whatever the cluster has.
    """

    worker_hours: float
    hours: float | None


def work(edits: int, units: int, workers: int | None, measured: Measured) -> Work:
    """Time for `edits` in `units` of equal size, at the measured speed of one worker."""
    seconds = edits * measured.seconds_per_edit
    used = min(workers, units) if workers else None  # a worker without a unit is not started
    worker_hours = (seconds + measured.setup_seconds * (used or 1)) / 3600
    if used is None:
        return Work(worker_hours, None)
    rounds = math.ceil(units / used)  # the last one may leave workers idle
    return Work(worker_hours, (measured.setup_seconds + rounds * seconds / units) / 3600)
