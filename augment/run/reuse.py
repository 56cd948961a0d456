"""Edits that earlier runs made, found again by their `aug_id` and put into a new part."""

from __future__ import annotations

import hashlib
import io
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from augment.dataset.record import EDITED, RECONSTRUCTION_SUFFIX, EditRecord, edit_files, planned_record
from augment.errors import RecordError
from augment.run.batch import EditedImage, Sample
from augment.storage.resolve import open_store
from augment.storage.store import Store
from augment.storage.tar import iter_tar
from augment.types import FinishedPart, PlannedSource, Variant

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class KeptEdit:
    """An edit that was made before.

    Attributes:
        record: as the new plan has it, with the measurements of the old one.
        png: the edit's file, byte for byte.
        reconstruction: the file of its source's reconstruction, from the same part.
        is_scored: whether the scores of the old record are those that the new plan wants.
    """

    record: EditRecord
    png: bytes
    reconstruction: bytes
    is_scored: bool

    @property
    def pixels(self) -> np.ndarray:
        """Return the edit, uint8 [H, W, 3]."""
        with Image.open(io.BytesIO(self.png), formats=("PNG",)) as file:
            return np.asarray(file.convert("RGB"))

    def scored(self, scores: Mapping[str, Any]) -> KeptEdit:
        """Return the edit with new scores."""
        return replace(self, record=replace(self.record, **scores), is_scored=True)

    @property
    def sample(self) -> Sample:
        """Return the sample of a part."""
        return self.record.key, edit_files(self.record, self.png)


class _FoundEdit(NamedTuple):
    """An edit in a part, and the reconstruction there of the same picture.

    Attributes:
        is_own: whether the part is of the run's own output folder.
    """

    record: EditRecord
    png: bytes
    reconstruction: bytes
    is_own: bool


class FinishedEdits:
    """The edits that some finished parts hold. A part that is gone or damaged holds none: its edits are made again.

    Args:
        store: the run's output folder.
        parts: where to look.
        config_hash: of the new plan; see `EditRecord`.
    """

    def __init__(self, store: Store, parts: Iterable[FinishedPart], config_hash: str) -> None:
        self._config_hash = config_hash
        self._edits: dict[str, _FoundEdit] = {}  # by aug_id
        for part in parts:
            self._read(open_store(part.out) if part.out else store, part)

    def _read(self, store: Store, part: FinishedPart) -> None:
        try:
            data = store.read(f"parts/{part.part}")
        except OSError as error:
            logger.warning("%s cannot be read, its edits are made again: %s", store.at(f"parts/{part.part}"), error)
            return
        if hashlib.sha256(data).hexdigest() != part.sha256:
            logger.warning("%s is damaged, its edits are made again", store.at(f"parts/{part.part}"))
            return
        edits: list[tuple[EditRecord, bytes]] = []
        # Of this part alone: another part may have that of another picture that had the same key.
        reconstructions: dict[str, bytes] = {}
        for key, files in iter_tar(io.BytesIO(data)):
            if "json" not in files:
                reconstructions[key.removesuffix(RECONSTRUCTION_SUFFIX)] = files["png"]
                continue
            try:
                record = EditRecord.from_json(files["json"])
            except RecordError:  # of a version with other fields
                continue
            if record.status == EDITED:
                edits.append((record, files["png"]))
        for record, png in edits:
            if (reconstruction := reconstructions.get(record.source_key)) is not None:
                self._edits[record.aug_id] = _FoundEdit(record, png, reconstruction, is_own=not part.out)

    def find(self, planned: PlannedSource, aug_ids: Sequence[Sequence[str]]) -> dict[int, KeptEdit]:
        """Return the edits of a source that were made before, by number of the variant.

        Args:
            planned: the source and the edits that are wanted of it.
            aug_ids: for each variant the ids under which its edit may have been made.
        """
        found = {}
        for variant, ids in zip(planned.variants, aug_ids, strict=True):
            if edit := next((self._edits[aug_id] for aug_id in ids if aug_id in self._edits), None):
                found[variant.index] = self._keep(planned, variant, edit)
        return found

    def find_unread(self, planned: PlannedSource) -> dict[int, KeptEdit]:
        """Return what `find` does for a source that cannot be read now, and is taken for what it was.

        That is what this folder's own edits of it were made of; if they were made of several pictures, and its version
        does not tell which is the last, none is found.
        """
        key, version = planned.source.key, planned.source.version
        edits = [edit for edit in self._edits.values() if edit.is_own and edit.record.source_key == key]
        edits = [edit for edit in edits if edit.record.source_sha256.startswith(version)]
        if len({edit.record.source_sha256 for edit in edits}) != 1:
            return {}
        by_prompts = {(edit.record.source_prompt, edit.record.target_prompt): edit for edit in edits}
        wanted = ((variant, (planned.source_prompt, variant.prompt)) for variant in planned.variants)
        return {v.index: self._keep(planned, v, by_prompts[prompts]) for v, prompts in wanted if prompts in by_prompts}

    def _keep(self, planned: PlannedSource, variant: Variant, edit: _FoundEdit) -> KeptEdit:
        old = edit.record
        wanted = planned_record(planned, variant, self._config_hash)
        names = ("key", "source_key", "label", "class_name", "source_attributes", "target_attributes", "variant")
        record = replace(old, config_hash=self._config_hash, **{name: getattr(wanted, name) for name in names})
        same = (old.config_hash, old.label, old.class_name) == (self._config_hash, record.label, record.class_name)
        return KeptEdit(record, edit.png, edit.reconstruction, is_scored=same)


def without(planned: PlannedSource, kept: Iterable[int]) -> PlannedSource:
    """Return a source with the edits alone that are still to be made."""
    have = frozenset(kept)
    return replace(planned, variants=tuple(v for v in planned.variants if v.index not in have))


def merged(planned: PlannedSource, kept: dict[int, KeptEdit], made: EditedImage) -> EditedImage:
    """Return all edits of a source: those kept, of which there are some, and those made now, in the order of the plan.

    Args:
        made: of the edits that were missing; without records if none was.
    """
    records = {record.variant: record for record in made.records}
    samples = dict(made.samples)
    for index, edit in kept.items():
        records[index] = edit.record
        samples |= dict([edit.sample])
    in_order = tuple(records[variant.index] for variant in planned.variants)
    first = next(iter(kept.values()))
    reconstruction = planned.source.key + RECONSTRUCTION_SUFFIX
    samples[reconstruction] = {"png": first.reconstruction}
    return EditedImage(
        in_order,
        tuple((key, samples[key]) for key in (*(record.key for record in in_order), reconstruction)),
        first.record.reconstruction_psnr,
        first.record.vae_psnr,
    )
