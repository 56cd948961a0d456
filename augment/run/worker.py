"""The work on one unit: read, decode, edit, score, encode, write a part, commit. Knows nothing of clusters.

An error of one image fails the edits of that image only: they become failed records with a stage and a reason. An error
of the process (a broken GPU context, a full disk, a signal) is raised, and the runner gives the unit to another worker.
"""

from __future__ import annotations

import contextlib
import hashlib
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from augment.dataset.record import EDITED, failed_records
from augment.errors import DeviceError, ImageError, InputError, OutputError
from augment.filters import judge_edit
from augment.inputs.fit import Fit, Size
from augment.inputs.headers import picture_size
from augment.inputs.images import decode_image
from augment.inputs.readers import read_bytes
from augment.ledger.in_flight import InFlight
from augment.ledger.ledger import Ledger
from augment.run.batch import (
    DecodedImage,
    EditedImage,
    RawEdits,
    encode_image,
    failed_sample,
    is_out_of_memory,
)
from augment.run.config import WorkerConfig
from augment.types import (
    EditStatus,
    PlannedSource,
    UnitReport,
    UnitTask,
)


class Editor(Protocol):
    """Makes the edits of a worker."""

    def edit(self, batch: Sequence[DecodedImage]) -> list[RawEdits]:
        """Edit and score a batch; return one result per image, in order."""
        ...

    def release_memory(self) -> None:
        """Return cached memory to the device."""


class Worker:
    """Makes units with the models of one process: call `setup` once, then `run_unit` for each unit.

    `run_unit` may be called from several threads. The models run one batch at a time. With two units in flight, one
    runs on the model while the other reads, decodes, encodes or writes.

    Args:
        config: the settings.
        make_editor: loads the models; called by `setup`.
    """

    def __init__(self, config: WorkerConfig, make_editor: Callable[[WorkerConfig], Editor]) -> None:
        self.config = config
        self._make_editor = make_editor
        self._fit = Fit(config.fit, config.image_size)
        self._ledger = Ledger(config.output)
        self._batch_size = config.batch_size  # halved, and never raised again, when memory runs out
        self._models = threading.Lock()
        self._models_free_since: float | None = None  # None before the first batch, while the models are loaded

    def setup(self) -> None:
        """Load the models. Not in `__init__`, so that creating a worker is cheap and imports no torch.

        Raises:
            OutputError: if the output cannot be reached from this machine.
        """
        if not self._ledger.store.exists("plan/plan.json"):
            raise OutputError(
                f"output.path: {self.config.output} has no plan as seen from {socket.gethostname()}. Every worker must "
                "reach it: name a folder that all machines share, or an object store."
            )
        self._editor = self._make_editor(self.config)

    def run_unit(self, task: UnitTask) -> UnitReport:
        """Make all edits of a unit and commit them.

        Returns:
            the report that is committed: that of another attempt, if that was first.

        Raises:
            OSError: if the part, or the in-flight file, cannot be written.
            DeviceError: if the device is broken; this process should end.
        """
        unit, clock = task.unit, _Clock()
        in_flight = InFlight(self._ledger.store, unit.unit_id, task.attempt)
        by_key = {planned.source.key: planned for planned in unit.sources}
        with clock.stage("alone"):
            for key in task.alone:
                in_flight.begin([key], alone=True)
                self._edit([by_key[key]], _Clock())
                in_flight.clear(key)
        results = {
            key: self._failed(by_key[key], "quarantine", reason) for key, reason in task.quarantined.items()
        }  # by source key
        wanted = [planned for planned in unit.sources if planned.source.key not in results]
        for group in self._of_one_size(wanted, clock):
            start = 0
            while start < len(group):
                batch = group[start : start + min(self._batch_size, task.batch_size or self._batch_size)]
                start += len(batch)
                in_flight.begin(planned.source.key for planned in batch)
                results |= self._edit(batch, clock)
        in_flight.begin(())  # a worker that dies from here on was not killed by an input
        in_order = [results[planned.source.key] for planned in unit.sources]
        with clock.stage("write"):
            part, sha256 = self._ledger.write_part(unit.unit_id, (s for image in in_order for s in image.samples))
        report = self._ledger.commit(self._report(task, in_order, part, sha256, clock.seconds), task.replaces)
        in_flight.close()
        return report

    def _of_one_size(self, wanted: Sequence[PlannedSource], clock: _Clock) -> list[list[PlannedSource]]:
        """Return the sources in groups that the model can be given together, each in the order of the plan.

        With buckets that are those of one bucket, as the headers of their files say; a file that has no readable header
        fails when it is decoded, in whatever group.
        """
        if self._fit.name != "bucket":
            return [list(wanted)]
        groups: dict[Size | None, list[PlannedSource]] = {}
        with clock.stage("read"):
            for planned in wanted:
                size = picture_size(planned.source)
                groups.setdefault(size and self._fit.size_of(*size), []).append(planned)
        return list(groups.values())

    def _edit(self, batch: Sequence[PlannedSource], clock: _Clock) -> dict[str, EditedImage]:
        """Read and edit some sources; return results by source key."""
        results: dict[str, EditedImage] = {}
        images: list[DecodedImage] = []
        with clock.stage("read"):
            for planned in batch:
                image = self._read(planned)
                if isinstance(image, DecodedImage):
                    images.append(image)
                else:
                    results[planned.source.key] = image
        return results | self._edit_decoded(images, clock)

    def _read(self, planned: PlannedSource) -> DecodedImage | EditedImage:
        """Return the decoded source, or its failed edits."""
        try:
            data = read_bytes(planned.source)
        except InputError as error:
            return self._failed(planned, "read", _without_place(error, planned))
        sha256 = hashlib.sha256(data).hexdigest()
        try:
            picture = decode_image(data, self._fit)
        except ImageError as error:
            return self._failed(planned, "decode", _without_place(error, planned), sha256)
        return DecodedImage(planned, sha256, np.asarray(picture))

    def _failed(self, planned: PlannedSource, stage: str, reason: str, sha256: str = "") -> EditedImage:
        known = self.config.known_fields()
        records = failed_records(planned, self.config.config_hash, stage, reason, source_sha256=sha256, **known)
        return EditedImage(tuple(records), tuple(map(failed_sample, records)))

    def _edit_decoded(self, images: Sequence[DecodedImage], clock: _Clock) -> dict[str, EditedImage]:
        """Edit a batch; return results by source key.

        A batch that fails is split, into halves if memory ran out and into single images otherwise, until the images
        that fail are alone.
        """
        if not images:
            return {}
        outcome = self._attempt(images, clock)
        # Not within the `except` block of `_attempt`: its traceback keeps the tensors whose memory is to be released.
        if not isinstance(outcome, _Failure):
            with clock.stage("encode"):
                return {raw.image.planned.source.key: encode_image(raw, self.config.config_hash) for raw in outcome}
        if len(images) == 1:
            image = images[0]
            return {image.planned.source.key: self._failed(image.planned, "edit", outcome.reason, image.sha256)}
        size = 1
        if outcome.out_of_memory:
            size = max(1, len(images) // 2)
            self._batch_size = min(self._batch_size, size)
            self._editor.release_memory()
        results: dict[str, EditedImage] = {}
        for start in range(0, len(images), size):
            results |= self._edit_decoded(images[start : start + size], clock)
        return results

    def _attempt(self, images: Sequence[DecodedImage], clock: _Clock) -> list[RawEdits] | _Failure:
        with clock.stage("wait"):
            self._models.acquire()
        if self._models_free_since is not None:
            clock.add("idle", time.monotonic() - self._models_free_since)
        try:
            with clock.stage("model"):
                return self._editor.edit(images)
        except Exception as error:  # a model may raise anything; what it is worth is decided here
            if is_out_of_memory(error):
                return _Failure("out of memory with a single image", out_of_memory=True)
            if "CUDA error" in str(error):
                raise DeviceError(str(error)) from None  # sticky: every later CUDA call of this process would fail too
            return _Failure(f"{type(error).__name__}: {error}", out_of_memory=False)
        finally:
            self._models_free_since = time.monotonic()
            self._models.release()

    def _report(
        self, task: UnitTask, images: Sequence[EditedImage], part: str, sha256: str, seconds: dict[str, float]
    ) -> UnitReport:
        records = [record for image in images for record in image.records]
        failed = [record for record in records if record.status == EditStatus.FAILED]
        verdicts = [judge_edit(r.scores(), self.config.filters) for r in records if r.status == EDITED]
        return UnitReport(
            unit_id=task.unit.unit_id,
            plan=self.config.config_hash,
            part=part,
            sha256=sha256,
            planned=len(records),
            edited=len(records) - len(failed),
            failed=len(failed),
            seconds=seconds,
            psnr_sum=sum(image.psnr for image in images if image.psnr is not None),
            vae_psnr_sum=sum(image.vae_psnr for image in images if image.vae_psnr is not None),
            inverted=sum(image.psnr is not None for image in images),
            failed_by_stage=dict(Counter(record.stage for record in failed)),
            failed_by_class=dict(Counter(record.class_name for record in failed)),
            planned_by_class=dict(Counter(record.class_name for record in records)),
            provisional=dict(Counter(EditStatus.ACCEPTED.value if v.keep else v.reason.split()[0] for v in verdicts)),
            batch_size=self._batch_size,
        )


class _Clock:
    """Measures the seconds of each stage of one unit."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
        finally:
            self.add(name, time.monotonic() - began)

    def add(self, name: str, seconds: float) -> None:
        self.seconds[name] = self.seconds.get(name, 0.0) + seconds


@dataclass(frozen=True)
class _Failure:
    """Why a batch failed, without the exception, whose traceback would keep the tensors alive."""

    reason: str
    out_of_memory: bool


def _without_place(error: Exception, planned: PlannedSource) -> str:
    """Return an error's text with the key in place of the path: the same input elsewhere must give the same record."""
    locator, key = planned.source.locator, planned.source.key
    return str(error).replace(locator, key).replace(locator.partition("::")[0], key)
