"""Estimates of the disk and the time that a run takes, from what a preview measured or from stated assumptions."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from augment.ledger.plan import VERSIONS
from augment.run.config import ExpandConfig
from augment.storage.store import Store

PREVIEW_FOLDER, PREVIEW_FILE = "preview", "preview.json"
# Without a preview: the size of photographs as PNG, and of a record with the tar headers of its four files.
PNG_BYTES_PER_PIXEL, SAMPLE_BYTES = 2.0, 5120
# Keys that change neither the time nor the bytes of an edit.
_IRRELEVANT = ("input.count", "input.listing", "input.order", VERSIONS, "run.unit_size", "prompts.table")


class Measured(BaseModel):
    """Time and bytes of the edits of a preview, as in `preview.json`.

    `seconds_per_edit` is measured on a worker that has one unit at a time. With several units in flight it reads and
    writes while the model runs, so a run takes between `model_seconds_per_edit` and `seconds_per_edit`.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    images: int = Field(description="sources that were edited")
    edits: int = Field(gt=0, description="edits made of them, failed ones not counted")
    seconds_per_edit: float = Field(description="seconds of one worker per edit, all stages")
    model_seconds_per_edit: float = Field(description="those of them in the model")
    setup_seconds: float = Field(description="seconds until a worker is ready, once per worker")
    part_bytes_per_edit: float = Field(description="bytes in parts/ per edit")
    shard_bytes_per_edit: float = Field(description="bytes in shards/ or rejected/ per edit")
    device: str = Field(description="the device it ran on")
    settings: dict[str, Any] = Field(description="everything that the figures depend on")


def relevant_settings(fingerprint: Mapping[str, Any], config: ExpandConfig) -> dict[str, Any]:
    """Return all settings that the cost of an edit depends on: the fingerprint without the listing, and `run`."""
    kept = {key: value for key, value in fingerprint.items() if key not in _IRRELEVANT}
    run = {"batch_size": config.run.batch_size, "threads_per_worker": config.run.threads_per_worker}
    machine = {"model.device": config.model.device, **{f"run.{key}": value for key, value in run.items()}}
    plain: dict[str, Any] = json.loads(json.dumps(kept | machine))  # as it is read back: lists, no tuples
    return plain


def read_measured(store: Store) -> Measured | None:
    """Return what the preview in this folder measured; None if there is none, or it did not end."""
    try:
        return Measured.model_validate_json(store.read(PREVIEW_FILE))
    except (FileNotFoundError, NotADirectoryError, ValidationError):
        return None


@dataclass(frozen=True)
class Disk:
    """Bytes of a finished output folder.

    Attributes:
        parts, shards: bytes in `parts/`, and in `shards/` and `rejected/` together.
        basis: where the figures come from, for a person.
    """

    parts: int
    shards: int
    basis: str

    @property
    def total(self) -> int:
        """Return the bytes of parts and shards together."""
        return self.parts + self.shards


def disk_estimate(images: int, edits: int, image_size: int, measured: Measured | None) -> Disk:
    """Return the bytes of a run. Every edit is in parts and shards, reconstructions are in the parts only.

    Args:
        images, edits: number of sources, and of edits of all of them.
        image_size: side in pixels.
        measured: by a preview; None to assume `PNG_BYTES_PER_PIXEL` and `SAMPLE_BYTES`.
    """
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
        worker_hours: of all workers together, loading the model included (once, if their number is not known). With a
            GPU per worker these are GPU-hours.
        hours: from start to end; None if the number of workers is not known.
    """

    worker_hours: float
    hours: float | None


def work_estimate(edits: int, units: int, workers: int | None, measured: Measured) -> Work:
    """Return the time for `edits` in `units` of equal size, at the measured speed of one worker.

    Args:
        workers: number of workers; None if it is not known.
    """
    if not units:
        return Work(0.0, 0.0)
    seconds = edits * measured.seconds_per_edit
    used = min(workers, units) if workers else None  # a worker without a unit is not started
    worker_hours = (seconds + measured.setup_seconds * (used or 1)) / 3600
    if used is None:
        return Work(worker_hours, None)
    rounds = math.ceil(units / used)  # the last one may leave workers idle
    return Work(worker_hours, (measured.setup_seconds + rounds * seconds / units) / 3600)
