"""The work on one unit: read, decode, edit, score, encode, write a part, commit. Knows nothing of clusters.

An error of one image fails the edits of that image only: they become failed records with a stage and a reason. An error
of the process (a broken GPU context, a full disk, a signal) is raised, and the runner gives the unit to another worker.
"""

from __future__ import annotations

import logging
import socket
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from augment.dataset.record import EDITED, failed_records
from augment.errors import ImageError, InputError, OutputError, StoreError, UnreachableError
from augment.filters import judge_edit
from augment.inputs.fit import Fit, Size
from augment.inputs.headers import picture_size
from augment.inputs.images import decode_image
from augment.inputs.masks import decode_mask
from augment.ledger.in_flight import InFlight
from augment.ledger.ledger import Ledger
from augment.run.batch import (
    DecodedImage,
    EditedImage,
    content_of,
    encode_image,
    failed_sample,
)
from augment.run.batch_sizes import KnownBatchSize
from augment.run.model_calls import Clock, Editor, Failure, ModelCalls
from augment.run.reuse import FinishedEdits, KeptEdit, merged, without
from augment.run.source_files import SourceFiles, SourceReader
from augment.run.worker_config import WorkerConfig
from augment.types import (
    EditStatus,
    PlannedSource,
    UnitReport,
    UnitTask,
)

logger = logging.getLogger(__name__)


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
        self._reader = SourceReader()
        self._batch_size = config.batch_size  # halved, and never raised again, when memory runs out
        self._known: KnownBatchSize | None = None

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
        editor = self._make_editor(self.config)
        if self.config.remember_batch_size:
            sharing = f", {self.config.workers_per_gpu} workers" if self.config.workers_per_gpu > 1 else ""
            kind = editor.device_kind + sharing
            self._known = KnownBatchSize(self._ledger.store, kind, self.config.pixels_hash)
            self._batch_size = min(self._batch_size, self._known.read() or self._batch_size)
        self._models = ModelCalls(editor, self.config.batch_size)

    def run_unit(self, task: UnitTask) -> UnitReport:
        """Make all edits of a unit and commit them.

        Returns:
            the report that is committed: that of another attempt, if that was first.

        Raises:
            OSError: if the part, or the in-flight file, cannot be written.
            UnreachableError: if the inputs' store does not answer; nothing is wrong with the inputs.
            StoreError: if an image cannot be read that is needed for new scores of edits made before.
            DeviceError: if the device is broken; this process should end.
        """
        unit, clock = task.unit, Clock()
        self._reader.expect([planned.source for planned in unit.sources])
        in_flight = InFlight(self._ledger.store, unit.unit_id, task.attempt, task.in_driver)
        before = FinishedEdits(self._ledger.store, unit.found_in, self.config.config_hash)
        kept = {p.source.key: self._find(p, before, in_flight, clock) for p in unit.sources if unit.found_in}
        by_key = {p.source.key: without(p, kept.get(p.source.key, {})) for p in unit.sources}
        wanted = {key: planned for key, planned in by_key.items() if planned.variants}
        with clock.stage("alone"):
            for key in task.alone:
                if key in wanted:
                    in_flight.begin([key], alone=True)
                    self._edit([wanted[key]], Clock(), task.batch_size)
                    in_flight.clear(key)
        results = {key: EditedImage((), ()) for key in by_key}  # what is made now, by source key
        for key, reason in task.quarantined.items():
            if (planned := wanted.pop(key, None)) is not None:
                results[key] = self._failed(planned, "quarantine", reason)
        for group in self._of_one_size(list(wanted.values()), clock):
            todo = group
            while todo:
                size = self._size(task.batch_size)
                batch, todo = todo[:size], todo[size:]
                in_flight.begin(planned.source.key for planned in batch)
                results |= self._edit(batch, clock, task.batch_size)
        in_flight.begin(())  # a worker that dies from here on was not killed by an input
        in_order = [
            merged(p, kept[p.source.key], results[p.source.key]) if kept.get(p.source.key) else results[p.source.key]
            for p in unit.sources
        ]
        with clock.stage("write"):
            part, sha256 = self._ledger.write_part(unit.unit_id, (s for image in in_order for s in image.samples))
        report = self._report(task, in_order, part, sha256, clock.seconds)
        report = replace(report, kept=sum(map(len, kept.values())))
        report = self._ledger.commit(report, task.replaces)
        in_flight.close()
        return report

    def _size(self, limit: int) -> int:
        """Return how many images to edit at once; `limit` is the task's own, 0 for none."""
        return min(self._batch_size, limit or self._batch_size)

    def _find(
        self, planned: PlannedSource, before: FinishedEdits, in_flight: InFlight, clock: Clock
    ) -> dict[int, KeptEdit]:
        """Return the edits of a source that were made before, scored as this run wants it, by number of the variant."""
        try:
            with clock.stage("read"):
                files = self._reader.read(planned.source)
        except UnreachableError:
            raise
        except InputError as error:
            return self._find_unread(planned, before, error)
        found = before.find(planned, self._models.aug_ids(planned, content_of(files.sha256, files.mask_sha256)))
        unscored = [index for index, edit in found.items() if not edit.is_scored]
        if not unscored:
            return found
        in_flight.begin([planned.source.key])
        image = self._decode(without(planned, found.keys() - unscored), files)
        if not isinstance(image, DecodedImage):
            return {}
        edits = np.stack([found[variant.index].pixels for variant in image.planned.variants])
        scores = self._models.call(lambda editor: editor.score(image, edits), self._batch_size, clock)
        if isinstance(scores, Failure):
            return {index: edit for index, edit in found.items() if edit.is_scored}
        pairs = zip(image.planned.variants, scores, strict=True)
        return found | {variant.index: found[variant.index].scored(score) for variant, score in pairs}

    def _find_unread(self, planned: PlannedSource, before: FinishedEdits, error: InputError) -> dict[int, KeptEdit]:
        """Return the edits made before of a source that cannot be read now: they stay, what is missing fails.

        Raises:
            StoreError: if they need new scores, for which the picture is needed. They would be lost.
        """
        found = before.find_unread(planned)
        if any(not edit.is_scored for edit in found.values()):
            raise StoreError(
                f"{error}. {len(found)} edits that were made of this image need new scores under these settings, for "
                "which it is needed. Make it readable again, or take it out of the dataset to drop its edits; then run "
                "the same command again. What is finished is kept."
            )
        if found:
            logger.warning("%s; the %d edits that were made of it stay", error, len(found))
        return found

    def _of_one_size(self, wanted: Sequence[PlannedSource], clock: Clock) -> list[list[PlannedSource]]:
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

    def _edit(self, batch: Sequence[PlannedSource], clock: Clock, limit: int) -> dict[str, EditedImage]:
        """Read and edit some sources, at most `limit` at once if it is not 0; return results by source key."""
        results: dict[str, EditedImage] = {}
        images: list[DecodedImage] = []
        with clock.stage("read"):
            for planned in batch:
                image = self._read(planned)
                if isinstance(image, DecodedImage):
                    images.append(image)
                else:
                    results[planned.source.key] = image
        return results | self._edit_decoded(images, clock, self._size(limit))

    def _read(self, planned: PlannedSource) -> DecodedImage | EditedImage:
        """Return the decoded source, or its failed edits. Raises UnreachableError if its store is away."""
        try:
            files = self._reader.read(planned.source)
        except UnreachableError:
            raise
        except InputError as error:
            return self._failed(planned, "read", _without_place(error, planned))
        return self._decode(planned, files)

    def _decode(self, planned: PlannedSource, files: SourceFiles) -> DecodedImage | EditedImage:
        try:
            picture = np.asarray(decode_image(files.picture, self._fit, colour=self.config.colour))
            mask = decode_mask(files.mask, self._fit, files.picture) if files.mask_sha256 else None
        except ImageError as error:
            return self._failed(planned, "decode", _without_place(error, planned), files.sha256)
        return DecodedImage(planned, files.sha256, picture, mask, files.mask_sha256)

    def _failed(self, planned: PlannedSource, stage: str, reason: str, sha256: str = "") -> EditedImage:
        known = self.config.known_fields()
        records = failed_records(planned, self.config.config_hash, stage, reason, source_sha256=sha256, **known)
        return EditedImage(tuple(records), tuple(map(failed_sample, records)))

    def _edit_decoded(self, images: Sequence[DecodedImage], clock: Clock, rows: int) -> dict[str, EditedImage]:
        """Edit a batch with the models on `rows` images at once; return results by source key.

        A batch that fails is split, into halves if memory ran out and into single images otherwise, until the images
        that fail are alone.
        """
        if not images:
            return {}
        outcome = self._models.call(lambda editor: editor.edit(images), rows, clock)
        # Not within the `except` block of `call`: its traceback keeps the tensors whose memory is to be released.
        if not isinstance(outcome, Failure):
            with clock.stage("encode"):
                return {raw.image.planned.source.key: encode_image(raw, self.config.config_hash) for raw in outcome}
        if len(images) == 1 and (rows == 1 or not outcome.out_of_memory):
            image = images[0]
            return {image.planned.source.key: self._failed(image.planned, "edit", outcome.reason, image.sha256)}
        size = 1
        if outcome.out_of_memory:
            size = rows = max(1, rows // 2)
            self._batch_size = min(self._batch_size, rows)
            if self._known is not None:
                self._known.write(self._batch_size)
        results: dict[str, EditedImage] = {}
        for start in range(0, len(images), size):
            results |= self._edit_decoded(images[start : start + size], clock, rows)
        return results

    def _report(
        self, task: UnitTask, images: Sequence[EditedImage], part: str, sha256: str, seconds: dict[str, float]
    ) -> UnitReport:
        records = [record for image in images for record in image.records]
        failed = [record for record in records if record.status == EditStatus.FAILED]
        verdicts = [judge_edit(r.scores(), self.config.filters) for r in records if r.status == EDITED]
        return UnitReport(
            unit_id=task.unit.unit_id,
            pixels=self.config.pixels_hash,
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


def _without_place(error: Exception, planned: PlannedSource) -> str:
    """Return an error's text with the key in place of the path: the same input elsewhere must give the same record."""
    key, text = planned.source.key, str(error)
    for place in filter(None, (planned.source.locator, planned.source.mask)):
        text = text.replace(place, key).replace(place.partition("::")[0], key)
    return text
