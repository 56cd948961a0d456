from __future__ import annotations

import json
from dataclasses import replace

import pytest

from augment.dataset.record import (
    EditRecord,
    edit_files,
    edit_key,
    failed_records,
    failed_unit_samples,
    planned_record,
)
from augment.errors import RecordError
from augment.types import (
    PlannedSource,
    Source,
    Unit,
    Variant,
)

PLANNED = PlannedSource(
    Source("a/fox", "/data/a/fox.png", 10, 3, "fox", attributes={"b": "2", "a": "1"}),
    "a fox",
    (Variant(0, "a fox on snow", {"place": "snow"}), Variant(1, "a fox at night")),
)
RECORD = planned_record(PLANNED, PLANNED.variants[0], "hash")


def test_record_survives_the_round_trip() -> None:
    record = replace(RECORD, status="edited", reconstruction_psnr=26.5, seed=2**62)
    assert EditRecord.from_json(record.to_json()) == record


def test_json_has_no_nulls_no_dots_and_floats_stay_floats() -> None:
    # An integer in a float field is what a JSON reader would take for an int column.
    record = replace(RECORD, vae_psnr=27)
    stored = json.loads(record.to_json())
    assert all(value is not None and "." not in name for name, value in stored.items())
    assert isinstance(stored["vae_psnr"], float)
    assert b'"vae_psnr": 27.0' in record.to_json()
    assert stored["source_attributes"] == '{"a": "1", "b": "2"}'


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vae_psnr": float("nan")}, "vae_psnr is nan"),
        ({"vae_psnr": float("inf")}, "vae_psnr is inf"),
        ({"seed": 1.5}, "seed is 1.5"),
        ({"label": True}, "label is True"),
        ({"reason": None}, "reason is None"),
    ],
)
def test_values_outside_the_schema_are_not_written(change: dict[str, object], message: str) -> None:
    with pytest.raises(RecordError, match=message):
        replace(RECORD, **change).to_json()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"{", "not JSON"),
        (b"[]", "list"),
        (b"{}", "fields missing: adjustment_strength, aug_id, "),
        (json.dumps(json.loads(RECORD.to_json()) | {"more": 1}).encode(), "unknown fields: more"),
        (json.dumps(json.loads(RECORD.to_json()) | {"vae_psnr": 3}).encode(), "vae_psnr is 3, which is no float"),
        (json.dumps(json.loads(RECORD.to_json()) | {"reason": None}).encode(), "reason is None"),
    ],
)
def test_records_outside_the_schema_are_not_read(data: bytes, message: str) -> None:
    with pytest.raises(RecordError, match=message):
        EditRecord.from_json(data)


def test_keys_of_different_sources_differ() -> None:
    names = ["x", "x-v01", "x-v01-v02", "x-v1", "x-reconstruction"]
    keys = [edit_key(name, v) for name in names for v in (0, 1, 2, 100)]
    assert len(set(keys)) == len(keys)
    assert edit_key("a/fox", 3) == "a/fox-v03"


def test_failed_records_say_where_and_why_on_one_line() -> None:
    first, second = failed_records(PLANNED, "hash", "decode", "  bad\n\tfile  ")
    assert (first.key, second.key) == ("a/fox-v00", "a/fox-v01")
    assert {(r.status, r.stage, r.reason) for r in (first, second)} == {("failed", "decode", "bad file")}
    assert (first.target_prompt, first.label, first.class_name) == ("a fox on snow", 3, "fox")
    (known, _) = failed_records(PLANNED, "hash", "decode", "bad", seed=7, model_id="model", model_revision="r1")
    assert (known.seed, known.model_id, known.model_revision, known.stage) == (7, "model", "r1", "decode")


def test_a_lost_unit_accounts_for_every_planned_edit() -> None:
    samples = dict(failed_unit_samples(Unit("u000000", (PLANNED, PLANNED)), "hash", "worker", "died", seed=7))
    assert {key: set(files) for key, files in samples.items()} == {"a/fox-v00": {"json"}, "a/fox-v01": {"json"}}
    assert EditRecord.from_json(samples["a/fox-v01"]["json"]).seed == 7


def test_files_of_a_sample() -> None:
    files = edit_files(RECORD, b"png bytes")
    assert files["png"] == b"png bytes"
    assert (files["cls"], files["txt"]) == (b"3", b"a fox on snow")
    assert EditRecord.from_json(files["json"]) == RECORD
