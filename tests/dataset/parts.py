"""An output folder with committed parts, as workers would have left it, without a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from augment.dataset.generation import read_manifest, shard_name
from augment.dataset.publish import Published
from augment.dataset.publish import publish as publish_dataset
from augment.dataset.record import (
    EDITED,
    RECONSTRUCTION_SUFFIX,
    edit_files,
    failed_records,
    planned_record,
)
from augment.dataset.shards import Judge, ShardLimits
from augment.inputs.images import encode_png
from augment.ledger.ledger import Ledger
from augment.ledger.plan import Plan, cut_units
from augment.storage.resolve import open_store
from augment.types import (
    PlannedSource,
    Source,
    Unit,
    UnitReport,
    Variant,
    Verdict,
)

CLASS_NAMES = {0: "fox", 1: "owl"}
FINGERPRINT = {"seed": 0, "input.count": 5, "input.image_size": 8, "prompts.templates": ("a {class}",)}


def planned_sources(count: int, variants: int = 2) -> list[PlannedSource]:
    """`count` sources of two classes in turn; the third is called `broken`, and is."""
    sources = []
    for i in range(count):
        name = CLASS_NAMES[i % 2]
        source = Source(f"{i:02d}_{'broken' if i == 2 else name}", f"/nowhere/{i}.png", 100 + i, i % 2, name)
        edits = tuple(Variant(v, f"a {name} in place {v}", {"place": str(v)}) for v in range(variants))
        sources.append(PlannedSource(source, f"a {name}", edits))
    return sources


def label_probability(source: int, variant: int) -> float:
    """The score that the edit of a source has: 0.1, 0.2, ... over the plan."""
    return round(0.1 * (1 + source * 2 + variant), 2) % 1.0


def samples_of(unit: Unit, config_hash: str) -> list[tuple[str, dict[str, bytes]]]:
    samples: list[tuple[str, dict[str, bytes]]] = []
    for planned in unit.sources:
        number = int(planned.source.key[:2])
        if planned.source.key.endswith("broken"):
            for record in failed_records(planned, config_hash, "decode", "the file has zero bytes"):
                samples.append((record.key, {"json": record.to_json()}))
            continue
        picture = encode_png(np.full((8, 8, 3), 10 * number, np.uint8))
        for variant in planned.variants:
            record = replace(
                planned_record(planned, variant, config_hash),
                status=EDITED,
                aug_id=f"{number}-{variant.index}",
                reconstruction_psnr=25.0,
                vae_psnr=27.0,
                label_probability=label_probability(number, variant.index),
            )
            samples.append((record.key, edit_files(record, picture)))
        samples.append((planned.source.key + RECONSTRUCTION_SUFFIX, {"png": picture}))
    return samples


def commit_unit(ledger: Ledger, plan: Plan, unit: Unit) -> UnitReport:
    samples = samples_of(unit, plan.config_hash)
    failed = sum(set(files) == {"json"} for _, files in samples)
    inverted = sum(key.endswith(RECONSTRUCTION_SUFFIX) for key, _ in samples)
    part, sha256 = ledger.write_part(unit.unit_id, samples)
    report = UnitReport(
        unit.unit_id,
        plan.pixels_hash,
        part,
        sha256,
        planned=unit.planned,
        edited=unit.planned - failed,
        failed=failed,
        seconds={"edit": 1.0},
        psnr_sum=25.0 * inverted,
        vae_psnr_sum=27.0 * inverted,
        inverted=inverted,
    )
    return ledger.commit(report)


def finished_ledger(out: Path | str, count: int = 5, unit_size: int = 2, **settings: Any) -> Ledger:
    """A folder with all units committed: 5 sources x 2 edits, of which 2 failed, by default; more of its settings."""
    ledger = Ledger(out)
    plan = ledger.write_plan(FINGERPRINT | settings, cut_units(planned_sources(count), unit_size), CLASS_NAMES)
    for unit in ledger.units():
        commit_unit(ledger, plan, unit)
    return ledger


def shard_of(out: Ledger | Path | str, number: int = 0, folder: str = "shards") -> str:
    """The name of a published shard."""
    store = out.store if isinstance(out, Ledger) else open_store(out)
    manifest = read_manifest(store)
    assert manifest is not None
    return shard_name(folder, manifest["generation"], number)


def at_least(minimum: float) -> Judge:
    """Keeps edits by their label probability alone."""

    def judge(scores: Mapping[str, float]) -> Verdict:
        value = scores["label_probability"]
        return Verdict(value >= minimum, "" if value >= minimum else f"label_probability {value} < {minimum}", value)

    return judge


def publish(
    ledger: Ledger, minimum: float = 0.35, check_hashes: bool = False, processes: int | None = None, **limits: int
) -> Published:
    """Finalize with `at_least(minimum)`; `limits` are those of the shards."""
    return publish_dataset(
        ledger,
        judge=at_least(minimum),
        judge_settings={"min": minimum},
        limits=ShardLimits(**limits),
        check_hashes=check_hashes,
        processes=processes,
    )
