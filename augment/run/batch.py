"""The data of a batch, from decoded images over raw edits to records and files. No torch here.

The same raw edits give the same bytes on every worker.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from augment.dataset.record import EDITED, RECONSTRUCTION_SUFFIX, EditRecord, edit_files, planned_record
from augment.inputs.images import encode_png
from augment.types import PlannedSource

Sample = tuple[str, dict[str, bytes]]  # key, files by extension


@dataclass(frozen=True)
class DecodedImage:
    """A decoded source.

    Attributes:
        planned: the source and the edits that are wanted of it.
        sha256: hexadecimal, of its file.
        pixels: uint8 [H, W, 3], fitted, without padding. Images of one batch may differ in size only where they are
            padded to one.
        mask: share of each pixel to keep, 0..255, uint8 [H, W, 1], fitted as the pixels are; None if there is none.
        mask_sha256: of its file; "" if there is none.
    """

    planned: PlannedSource
    sha256: str
    pixels: np.ndarray
    mask: np.ndarray | None = None
    mask_sha256: str = ""

    @property
    def content(self) -> str:
        """Return what tells the picture, and its mask if it has one, from all others; see `content_of`."""
        return content_of(self.sha256, self.mask_sha256)


@dataclass(frozen=True)
class RawEdits:
    """The output of the models for one image, not encoded yet. K is the number of variants.

    Attributes:
        image: the source.
        pixels: the edits, uint8 [K, H, W, 3].
        reconstruction: uint8 [H, W, 3].
        finite: for each edit, whether it has neither NaN nor infinity.
        scores: for each edit, name -> score.
        measured: measurements of the inversion, by the names of the record's fields.
        settings: the settings of all edits, by the names of the record's fields.
        of_edits: for each edit, those that are its own.
        aug_ids: for each edit, the hash of all that determines its pixels.
    """

    image: DecodedImage
    pixels: np.ndarray
    reconstruction: np.ndarray
    finite: tuple[bool, ...]
    scores: tuple[dict[str, float], ...]
    measured: dict[str, float]
    settings: dict[str, Any]
    of_edits: tuple[dict[str, Any], ...]
    aug_ids: tuple[str, ...]

    @property
    def is_finite(self) -> bool:
        """Return whether all edits, scores and measurements are finite."""
        numbers = [*self.measured.values(), *(value for scores in self.scores for value in scores.values())]
        return all(self.finite) and all(map(math.isfinite, numbers))


@dataclass(frozen=True)
class EditedImage:
    """The records and files of one image.

    Attributes:
        records: one per variant, failed or not.
        samples: of the records, and of the reconstruction if there is one.
        psnr, vae_psnr: PSNR in dB of the reconstruction and of the VAE round trip; None if the inversion diverged.
    """

    records: tuple[EditRecord, ...]
    samples: tuple[Sample, ...]
    psnr: float | None = None
    vae_psnr: float | None = None


def content_of(sha256: str, mask_sha256: str) -> str:
    """Return what the ids of a source's edits take for its files: the hash of the picture, and of its mask, if any."""
    return f"{sha256} {mask_sha256}" if mask_sha256 else sha256


def encode_image(raw: RawEdits, config_hash: str) -> EditedImage:
    """Encode the edits of one image.

    An edit or a score with NaN or infinity fails that edit; a measurement of the inversion fails all edits of its
    image. Needs no device, so it may run while the next batch is edited.
    """
    image = raw.image
    unusable = [name for name, value in raw.measured.items() if not math.isfinite(value)]
    records: list[EditRecord] = []
    samples: list[Sample] = []
    for variant, aug_id, is_finite, pixels, score, own in zip(
        image.planned.variants, raw.aug_ids, raw.finite, raw.pixels, raw.scores, raw.of_edits, strict=True
    ):
        planned = planned_record(image.planned, variant, config_hash)
        record = replace(planned, aug_id=aug_id, source_sha256=image.sha256, **raw.settings | own)
        if unusable:
            record = replace(record, stage="invert", reason=f"{unusable[0]} is not finite: the inversion diverged")
        elif not is_finite:
            record = replace(record, stage="edit", reason="the edit has NaN or infinity in it")
        elif not all(map(math.isfinite, score.values())):
            record = replace(record, stage="score", reason="a score is not finite")
        else:
            values: dict[str, Any] = raw.measured | score
            record = replace(record, status=EDITED, **values)
        edited = record.status == EDITED
        records.append(record)
        samples.append((record.key, edit_files(record, encode_png(pixels))) if edited else failed_sample(record))
    if unusable:
        return EditedImage(tuple(records), tuple(samples))
    key = image.planned.source.key + RECONSTRUCTION_SUFFIX
    samples.append((key, {"png": encode_png(raw.reconstruction)}))
    psnr, vae_psnr = raw.measured["reconstruction_psnr"], raw.measured["vae_psnr"]
    return EditedImage(tuple(records), tuple(samples), psnr, vae_psnr)


def failed_sample(record: EditRecord) -> Sample:
    """Return the sample of a failed edit, which has a record and no picture."""
    return record.key, {"json": record.to_json()}


def is_out_of_memory(error: Exception) -> bool:
    """Return whether an error says that memory ran out: of the device, of one of its libraries, or of the machine."""
    text = str(error).lower()
    signs = ("out of memory", "can't allocate memory", "alloc_failed")  # the last is cuBLAS's and cuDNN's
    return isinstance(error, MemoryError) or any(sign in text for sign in signs)
