"""One unit of work: read -> decode -> edit -> score -> write a part -> commit. A plain class that knows no cluster.

What goes wrong with one image costs that image: its edits become failed records with a stage and a reason. What goes
wrong with the process (a broken GPU context, a full disk, a signal) is raised, and the unit is somebody else's.
"""

from __future__ import annotations

import gc
import hashlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from augment.batch import BatchConfig, BatchEditor, DecodedImage, EditedImage, failed_sample
from augment.data.images import ImageError, decode_image
from augment.data.ledger import Ledger
from augment.data.locate import InputError
from augment.data.readers import read_bytes
from augment.data.shards import failed_records
from augment.types import PlannedSource, Unit, UnitReport


class WorkerConfig(BatchConfig):
    """Everything a worker needs to know; sent to it once."""

    output: Path = Field(description="the run's output folder, reachable from every worker")
    batch_size: int = Field(gt=0, description="source images inverted together")
    threads: int = Field(
        gt=0, description="CPU threads of torch; two runs with other numbers may differ in the last bit"
    )

    def known_fields(self) -> dict[str, Any]:
        """Fields of an `EditRecord` that are known of every edit, also of one that never reached the model."""
        return {"seed": self.seed, "model_id": self.model.name, "model_revision": self.model.revision}


class Worker:
    """Holds the models of one process: `setup()` once, then `run_unit` as often as there is work."""

    def __init__(self, config: WorkerConfig) -> None:
        self.config = config
        self._ledger = Ledger(config.output)
        self._batch_size = config.batch_size  # halves for good when memory runs out

    def setup(self) -> None:
        """Load the models. Apart from `__init__`, so that a pool exists before anything heavy is imported."""
        import torch

        torch.set_num_threads(self.config.threads)
        self._editor = BatchEditor(self.config)

    def run_unit(self, unit: Unit) -> UnitReport:
        """Make all edits of a unit and commit them. Returns the report that counts: another's, if it was first.

        Raises:
            OSError: if the part cannot be written.
            RuntimeError: if the device is broken; this process should end.
        """
        clock = [time.monotonic()]
        results: dict[str, EditedImage] = {}  # by source key
        images: list[DecodedImage] = []
        for planned in unit.sources:
            image = self._read(planned)
            if isinstance(image, DecodedImage):
                images.append(image)
            else:
                results[planned.source.key] = image
        clock.append(time.monotonic())
        start = 0
        while start < len(images):
            batch = images[start : start + self._batch_size]
            start += len(batch)
            results |= self._edit(batch)
        clock.append(time.monotonic())
        in_order = [results[planned.source.key] for planned in unit.sources]
        part, sha256 = self._ledger.write_part(unit.unit_id, (s for image in in_order for s in image.samples))
        clock.append(time.monotonic())
        failed = sum(set(files) == {"json"} for image in in_order for _, files in image.samples)
        report = UnitReport(
            unit_id=unit.unit_id,
            plan=self.config.config_hash,
            part=part,
            sha256=sha256,
            planned=unit.planned,
            edited=unit.planned - failed,
            failed=failed,
            seconds={"read": clock[1] - clock[0], "edit": clock[2] - clock[1], "write": clock[3] - clock[2]},
            psnr_sum=sum(image.psnr for image in in_order if image.psnr is not None),
            vae_psnr_sum=sum(image.vae_psnr for image in in_order if image.vae_psnr is not None),
            inverted=sum(image.psnr is not None for image in in_order),
        )
        return self._ledger.commit(report)

    def _read(self, planned: PlannedSource) -> DecodedImage | EditedImage:
        """The decoded source, or its failed edits."""
        try:
            data = read_bytes(planned.source)
        except InputError as error:
            return self._failed(planned, "read", _without_place(error, planned))
        sha256 = hashlib.sha256(data).hexdigest()
        try:
            picture = decode_image(data, self.config.image_size)
        except ImageError as error:
            return self._failed(planned, "decode", _without_place(error, planned), sha256)
        return DecodedImage(planned, sha256, np.asarray(picture))

    def _failed(self, planned: PlannedSource, stage: str, reason: str, sha256: str = "") -> EditedImage:
        known = self.config.known_fields()
        records = failed_records(planned, self.config.config_hash, stage, reason, source_sha256=sha256, **known)
        return EditedImage(tuple(map(failed_sample, records)), None, None)

    def _edit(self, batch: list[DecodedImage]) -> dict[str, EditedImage]:
        """Edit a batch; results by source key. A batch that fails is split until what fails stands alone."""
        outcome = self._attempt(batch)
        # Outside of the `except` block by now: its traceback held the tensors whose memory is wanted back.
        if not isinstance(outcome, _Failure):
            return {image.planned.source.key: edited for image, edited in zip(batch, outcome, strict=True)}
        if len(batch) == 1:
            image = batch[0]
            return {image.planned.source.key: self._failed(image.planned, "edit", outcome.reason, image.sha256)}
        size = 1
        if outcome.out_of_memory:
            size = self._batch_size = max(1, len(batch) // 2)
            _release_memory()
        results: dict[str, EditedImage] = {}
        for start in range(0, len(batch), size):
            results |= self._edit(batch[start : start + size])
        return results

    def _attempt(self, batch: list[DecodedImage]) -> list[EditedImage] | _Failure:
        try:
            return self._editor.edit(batch)
        except Exception as error:  # a model may raise anything; what it is worth is decided here
            if _is_out_of_memory(error):
                return _Failure("out of memory with a single image", out_of_memory=True)
            if "CUDA error" in str(error):
                raise  # sticky: every later CUDA call of this process would fail too
            return _Failure(f"{type(error).__name__}: {error}", out_of_memory=False)


@dataclass(frozen=True)
class _Failure:
    """Why a batch failed, without the exception and the tensors that its traceback keeps alive."""

    reason: str
    out_of_memory: bool


def _without_place(error: Exception, planned: PlannedSource) -> str:
    """An error's text without the folder it happened in: the same input elsewhere must give the same record."""
    locator, key = planned.source.locator, planned.source.key
    return str(error).replace(locator, key).replace(locator.partition("::")[0], key)


def _is_out_of_memory(error: Exception) -> bool:
    import torch

    text = str(error).lower()
    kinds = (torch.OutOfMemoryError, MemoryError)
    return isinstance(error, kinds) or "out of memory" in text or "can't allocate memory" in text


def _release_memory() -> None:
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
