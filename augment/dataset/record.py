"""What one edit looks like on disk: the same four files and the same JSON schema in every sample of every shard.

A sample is `<key>.png` + `<key>.cls` (label) + `<key>.txt` (target prompt) + `<key>.json` (an `EditRecord`). Loaders
infer a schema from the first few samples and then silently truncate or drop what differs, so every record has every
field, floats are always written as floats, nothing is null, and open-ended settings are one JSON string each.

A *part* (the private output of one unit) holds the same samples with status `edited`, a `.json` alone for every planned
edit that failed, and `<source key>-reconstruction.png` for every image that was inverted; those are not published.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from augment.errors import RecordError
from augment.types import (
    EditStatus,
    PlannedSource,
    Unit,
    Variant,
)

EDITED = "edited"  # status inside parts: scored, not judged yet
STAGES = ("read", "decode", "invert", "edit", "score", "quarantine", "worker")  # at which an edit may fail
SAMPLE_FILES = frozenset({"cls", "json", "png", "txt"})
RECONSTRUCTION_SUFFIX = "-reconstruction"
SCORE_FIELDS = ("reconstruction_psnr", "vae_psnr", "label_probability", "text_alignment", "source_similarity")


@dataclass(frozen=True)
class EditRecord:
    """Everything known about one planned edit.

    Attributes:
        key: the sample's key, `<source_key>-v<variant>`; unique in a dataset.
        aug_id: hash of all that determines the pixels; "" if the image failed as a whole (stages `read`, `decode` and
            `worker`, and `edit` where the model raised an error).
        status: `edited` in parts; `accepted`, `rejected` or `failed` once finalized (`failed` also in parts).
        stage: where a failed edit failed, one of `STAGES`, else "".
        reason: why it failed or was rejected, else "".
        source_attributes, target_attributes, solver_settings: a JSON object as text, keys sorted. Beside the solver's
            own settings the last has its first guess and its stop, and what preserves the object, if anything does.
        seed: the run's seed, which chose the prompts.
        reconstruction_psnr: dB against the input, inverted and sampled back.
        vae_psnr: the same, only encoded and decoded; the bound.
        inversion_residual: largest over the steps, RMS in the latents' units.
        inversion_iterations, inversion_evaluations: solver iterations and network evaluations, over all steps.
        label_probability: CLIP's zero-shot probability of the class word, 0..1.
        text_alignment, source_similarity: cosine of the edit with its prompt, and with its source, -1..1.
        model_id, model_revision: the loaded model's; for an image that failed as a whole, the configured ones.
        match_noise: 1 if the noise the sampler adds was drawn given the image; without meaning where it adds none.
        dtype: the network's number type: `float32` also where half precision gave NaN and the edit was made again.
        sampler ... dtype: empty or zero for an image that failed as a whole.
        config_hash: hash of the settings that pixels and scores depend on (`ledger.plan.config_hash_of`).
    """

    key: str
    aug_id: str
    status: str
    stage: str
    reason: str
    source_key: str
    source_sha256: str
    label: int
    class_name: str
    source_prompt: str
    target_prompt: str
    source_attributes: str
    target_attributes: str
    variant: int
    seed: int
    model_id: str
    model_revision: str
    sampler: str
    num_steps: int
    strength: float
    guidance_scale: float
    inversion_guidance_scale: float
    adjustment_strength: float
    match_noise: int
    solver: str
    solver_settings: str
    dtype: str
    inversion_status: str
    inversion_iterations: float
    inversion_evaluations: float
    inversion_residual: float
    reconstruction_psnr: float
    vae_psnr: float
    label_probability: float
    text_alignment: float
    source_similarity: float
    config_hash: str

    def scores(self) -> dict[str, float]:
        """Return what the filters judge, by name."""
        return {name: float(getattr(self, name)) for name in SCORE_FIELDS}

    def to_json(self) -> bytes:
        """Return the record as one line of JSON, keys sorted.

        Raises:
            RecordError: if a value has another type than its field, or is not finite.
        """
        record = {name: getattr(self, name) for name in _FIELD_TYPES}
        for name, kind in _FIELD_TYPES.items():
            value = record[name]
            if kind is float and type(value) is int:
                record[name] = float(value)
            elif type(value) is not kind:
                raise RecordError(f"{self.key}: {name} is {value!r}, which is no {kind.__name__}")
            if kind is float and not math.isfinite(value):
                raise RecordError(f"{self.key}: {name} is {value}; only finite numbers can be stored")
        return (json.dumps(record, sort_keys=True, allow_nan=False) + "\n").encode()

    @classmethod
    def from_json(cls, data: bytes) -> EditRecord:
        """Read a record back.

        Raises:
            RecordError: if it is no JSON object, a field is missing, unknown, null or of another type.
        """
        return cls(**fields_of_record(data))


_TYPES_BY_NAME: dict[str, type] = {"str": str, "int": int, "float": float}
_FIELD_TYPES: dict[str, type] = {f.name: _TYPES_BY_NAME[str(f.type)] for f in fields(EditRecord)}
_TYPES = tuple(_FIELD_TYPES.values())


def fields_of_record(data: bytes) -> dict[str, Any]:
    """Return the fields of an `EditRecord` from its JSON. Raises as `EditRecord.from_json` does."""
    try:
        record = json.loads(data)
    except ValueError as error:
        raise RecordError(f"not JSON: {error}") from error
    if not isinstance(record, dict):
        raise RecordError(f"a record is a JSON object, not {type(record).__name__}")
    if missing := sorted(_FIELD_TYPES.keys() - record.keys()):
        raise RecordError(f"fields missing: {', '.join(missing)}")
    if len(record) > len(_FIELD_TYPES):
        raise RecordError(f"unknown fields: {', '.join(sorted(record.keys() - _FIELD_TYPES.keys()))}")
    if tuple(map(type, map(record.__getitem__, _FIELD_TYPES))) != _TYPES:
        name, kind = next((name, kind) for name, kind in _FIELD_TYPES.items() if type(record[name]) is not kind)
        raise RecordError(f"{name} is {record[name]!r}, which is no {kind.__name__}")
    return record


def with_verdict(data: bytes, status: str, reason: str) -> bytes:
    """Return the JSON of a part's edit with its verdict in the place of `edited` and of no reason.

    As `to_json` would write it, but without reading the rest: quotes inside a text are escaped, so that only the two
    fields look like this.
    """
    if data.count(_EDITED) != 1 or data.count(_NO_REASON) != 1:  # not as `to_json` writes it
        return replace(EditRecord.from_json(data), status=status, reason=reason).to_json()
    return data.replace(_EDITED, f'"status": "{status}"'.encode()).replace(_NO_REASON, _reason(reason).encode())


def verdict_bytes(status: str, reason: str) -> int:
    """Return by how many bytes `with_verdict` makes a record longer."""
    return len(status) - len(EDITED) + len(_reason(reason)) - len(_NO_REASON)


_EDITED, _NO_REASON = b'"status": "edited"', b'"reason": ""'


def _reason(reason: str) -> str:
    return f'"reason": {json.dumps(reason)}'


def as_json_text(value: Mapping[str, Any]) -> str:
    """Return an open-ended mapping as the text of one string field."""
    return json.dumps(value, sort_keys=True)


def edit_key(source_key: str, variant: int) -> str:
    """Return the key of an edit. The number is the last part, so two sources can never give the same key."""
    return f"{source_key}-v{variant:02d}"


def planned_record(planned: PlannedSource, variant: Variant, config_hash: str) -> EditRecord:
    """Return the record of an edit as planned: names and prompts are set; what only a run can know is empty or zero."""
    source = planned.source
    empty: dict[str, Any] = {name: _TYPES_BY_NAME[str(f.type)]() for f in fields(EditRecord) if (name := f.name)}
    known: dict[str, Any] = {
        "key": edit_key(source.key, variant.index),
        "status": EditStatus.FAILED.value,
        "source_key": source.key,
        "label": source.label,
        "class_name": source.class_name,
        "source_prompt": planned.source_prompt,
        "target_prompt": variant.prompt,
        "source_attributes": as_json_text(source.attributes),
        "target_attributes": as_json_text(variant.attributes),
        "variant": variant.index,
        "config_hash": config_hash,
    }
    return EditRecord(**(empty | known))


def failed_records(planned: PlannedSource, config_hash: str, stage: str, reason: str, **known: Any) -> list[EditRecord]:
    """Return one failed record for every variant of a source; the reason is cut to one line.

    Args:
        known: fields that are known all the same: `seed`, `model_id`, `model_revision`, `source_sha256`.
    """
    line = " ".join(reason.split())[:500] or "no reason was given"
    return [
        replace(planned_record(planned, v, config_hash), stage=stage, reason=line, **known) for v in planned.variants
    ]


def failed_unit_samples(
    unit: Unit, config_hash: str, stage: str, reason: str, **known: Any
) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Yield the samples of a part in which everything failed, for units that no worker survives."""
    for planned in unit.sources:
        for record in failed_records(planned, config_hash, stage, reason, **known):
            yield record.key, {"json": record.to_json()}


def edit_files(record: EditRecord, png: bytes) -> dict[str, bytes]:
    """Return the four files of a sample, by extension."""
    return {
        "png": png,
        "cls": str(record.label).encode(),
        "txt": record.target_prompt.encode(),
        "json": record.to_json(),
    }
