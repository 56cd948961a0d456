"""Committed parts -> the dataset: judge every edit, publish shards in plan order, account for everything planned.

Needs no GPU and no torch. Everything is built beside (`.finalize/`) and moved into place at the end, the manifest last:
a folder whose `manifest.json` exists is whole. The bytes depend on the parts, the thresholds and the shard limits.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from augment.data.card import dataset_card
from augment.data.index import IndexWriter
from augment.data.ledger import Ledger, OutputError, Plan, digest_of
from augment.data.shards import EDITED, RECONSTRUCTION_SUFFIX, EditRecord, edit_files
from augment.data.tar import iter_tar, sha256_file, write_bytes_atomic, write_tar
from augment.types import EditStatus, UnitReport, Verdict

MANIFEST_FORMAT = 1
STAGING = ".finalize"
Judge = Callable[[Mapping[str, float]], Verdict]


class ShardLimits(BaseModel):
    """How large a published shard may grow."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_shard_samples: int = Field(default=1000, gt=0, description="samples per shard")
    max_shard_bytes: int = Field(
        default=256 * 2**20, gt=0, description="bytes of files per shard; one sample always fits"
    )


@dataclass(frozen=True)
class Finalized:
    """What a dataset holds.

    Attributes:
        changed: False if everything was already published, and not a byte was written.
        manifest: the content of `manifest.json`.
    """

    changed: bool
    manifest: dict[str, Any]


def finalize(
    ledger: Ledger,
    *,
    judge: Judge,
    judge_settings: Mapping[str, Any],
    limits: ShardLimits,
    derived: tuple[str, ...] = (),
) -> Finalized:
    """Publish the dataset of a folder whose units are all committed; call it under the ledger's lock.

    Args:
        judge: scores by name -> verdict.
        judge_settings: what `judge` depends on, as JSON; another value publishes anew.
        derived: names of files in the output that others make from the dataset, removed when it is published anew.

    Raises:
        OutputError: if there is no plan, units are not done, or a part is damaged.
    """
    plan = ledger.read_plan()
    if plan is None:
        raise OutputError(f"{ledger.out} has no plan/plan.json: it is no output folder of `augment expand`.")
    reports = ledger.committed()
    if missing := plan.units - len(reports):
        raise OutputError(f"{ledger.out}: {missing} of {plan.units} units are not done. Run `augment expand` to go on.")
    ordered = [reports[unit_id] for unit_id in sorted(reports)]
    inputs = digest_of(
        [MANIFEST_FORMAT, plan.digest, [r.sha256 for r in ordered], dict(judge_settings), limits.model_dump()]
    )
    published = read_manifest(ledger.out)
    if published is not None and published.get("inputs") == inputs and _is_whole(ledger.out, published):
        return Finalized(False, published)

    staging = ledger.out / STAGING
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir()
    builder = _Builder(staging, limits)
    for report in ordered:
        for record, png in read_part(ledger, report):
            builder.add(record, png, judge)
    manifest = builder.close(plan, ordered, dict(judge_settings), inputs)
    if manifest["planned"] != plan.planned:
        raise OutputError(
            f"{ledger.out}: the plan wants {plan.planned} edits, the parts account for {manifest['planned']}. "
            "Delete commits/ and run `augment expand` again."
        )
    _publish(ledger.out, staging, manifest, derived)
    return Finalized(True, manifest)


def read_manifest(out: Path) -> dict[str, Any] | None:
    """The published manifest, or None if there is none (or only the ruin of one)."""
    try:
        manifest = json.loads((out / "manifest.json").read_bytes())
    except (OSError, ValueError):
        return None
    return manifest if isinstance(manifest, dict) else None


def read_part(ledger: Ledger, report: UnitReport) -> Iterator[tuple[EditRecord, bytes]]:
    """The records of a committed part with their pictures (b"" where there is none); checked against its sha256.

    Raises:
        OutputError: if the part is missing or has other bytes than were committed.
    """
    path = ledger.part_path(report)
    if not path.is_file() or sha256_file(path) != report.sha256:
        raise OutputError(
            f"{path} is missing or damaged (its sha256 is not the committed one). "
            f"Delete {ledger.out / 'commits' / report.unit_id}.json and run `augment expand` again: it redoes it."
        )
    for _, files in iter_tar(path):
        if "json" in files:
            yield EditRecord.from_json(files["json"]), files.get("png", b"")


def read_reconstructions(ledger: Ledger, report: UnitReport) -> dict[str, bytes]:
    """The PNGs of a part's reconstructed sources, by source key."""
    pictures = iter_tar(ledger.part_path(report))
    return {
        key.removesuffix(RECONSTRUCTION_SUFFIX): files["png"]
        for key, files in pictures
        if key.endswith(RECONSTRUCTION_SUFFIX) and "json" not in files
    }


class _ShardSeries:
    """`<folder>/<name>-000000.tar` and its statistics, one after the other, each within the limits."""

    def __init__(self, staging: Path, folder: str, name: str, limits: ShardLimits) -> None:
        self.staging, self.folder, self.name, self.limits = staging, folder, name, limits
        self.pending: list[tuple[str, dict[str, bytes]]] = []
        self.records: list[EditRecord] = []
        self.bytes = 0
        self.files: dict[str, dict[str, Any]] = {}
        self.count = 0
        (staging / folder).mkdir()

    def add(self, record: EditRecord, png: bytes) -> str:
        """Take a sample; returns the shard it will be in."""
        files = edit_files(record, png)
        size = sum(map(len, files.values()))
        if self.pending and (
            len(self.pending) == self.limits.max_shard_samples or self.bytes + size > self.limits.max_shard_bytes
        ):
            self.flush()
        self.pending.append((record.key, files))
        self.records.append(record)
        self.bytes += size
        return self._path("tar")

    def _path(self, extension: Literal["tar", "json"]) -> str:
        stem = f"{self.folder}/{self.name}-{self.count:06d}"
        return f"{stem}.tar" if extension == "tar" else f"{stem}_stats.json"

    def flush(self) -> None:
        if not self.pending:
            return
        shard, stats = self._path("tar"), self._path("json")
        write_tar(self.staging / shard, self.pending)
        content = _statistics(self.records)
        write_bytes_atomic(self.staging / stats, _json_bytes(content))
        self.files[shard] = _file_entry(self.staging / shard) | {"samples": len(self.pending)}
        self.files[stats] = _file_entry(self.staging / stats)
        self.pending, self.records, self.bytes, self.count = [], [], 0, self.count + 1


class _Builder:
    """Judges edits one by one and writes them, and a row for each, under the staging folder."""

    def __init__(self, staging: Path, limits: ShardLimits) -> None:
        self.staging = staging
        self.series: dict[EditStatus, _ShardSeries] = {
            EditStatus.ACCEPTED: _ShardSeries(staging, "shards", "train", limits),
            EditStatus.REJECTED: _ShardSeries(staging, "rejected", "rejected", limits),
        }
        self.index = IndexWriter(staging / "index.parquet")
        self.counts: Counter[str] = Counter()
        self.by_class: dict[str, Counter[str]] = {}
        self.reasons: Counter[str] = Counter()

    def add(self, record: EditRecord, png: bytes, judge: Judge) -> None:
        shard = ""
        if record.status == EDITED:
            verdict = judge(record.scores())
            status = EditStatus.ACCEPTED if verdict.keep else EditStatus.REJECTED
            record = replace(record, status=status.value, reason=verdict.reason)
            shard = self.series[status].add(record, png)
        else:
            status = EditStatus.FAILED
        self.index.add(record, shard)
        self.counts[status] += 1
        self.by_class.setdefault(record.class_name, Counter())[status] += 1
        if status is not EditStatus.ACCEPTED:
            self.reasons[reason_kind(record)] += 1

    def close(
        self, plan: Plan, reports: list[UnitReport], judge_settings: dict[str, Any], inputs: str
    ) -> dict[str, Any]:
        """Write what is left and return the manifest."""
        self.index.close()
        files: dict[str, dict[str, Any]] = {}
        for series in self.series.values():
            series.flush()
            files |= series.files
        inverted = sum(r.inverted for r in reports)
        manifest: dict[str, Any] = {
            "format": MANIFEST_FORMAT,
            "inputs": inputs,
            "plan": plan.digest,
            "settings": plan.fingerprint,
            "filters": judge_settings,
            "planned": sum(self.counts.values()),
            **{status.value: self.counts[status] for status in EditStatus},
            "shards": self.series[EditStatus.ACCEPTED].count,
            "reasons": dict(sorted(self.reasons.items())),
            "classes": {
                name: {status.value: counts[status] for status in EditStatus}
                for name, counts in sorted(self.by_class.items())
            },
            "inverted": inverted,
            "mean_reconstruction_psnr": sum(r.psnr_sum for r in reports) / max(1, inverted),
            "mean_vae_psnr": sum(r.vae_psnr_sum for r in reports) / max(1, inverted),
        }
        write_bytes_atomic(self.staging / "README.md", dataset_card(manifest).encode())
        for name in ("index.parquet", "README.md"):
            files[name] = _file_entry(self.staging / name)
        return manifest | {"files": dict(sorted(files.items()))}


def reason_kind(record: EditRecord) -> str:
    """What to count a dropped edit under: the stage of a failure, the score of a rejection."""
    return f"failed: {record.stage}" if record.status == EditStatus.FAILED else record.reason.split()[0]


def _statistics(records: list[EditRecord]) -> dict[str, Any]:
    """What a shard holds, for people and for loaders that want counts."""

    def mean(name: str) -> float:
        return sum(float(getattr(r, name)) for r in records) / len(records)

    scores = [*records[0].scores(), "inversion_residual", "inversion_evaluations"]
    return {
        "samples": len(records),
        "first_key": records[0].key,
        "last_key": records[-1].key,
        "classes": dict(sorted(Counter(r.class_name for r in records).items())),
        "mean": {name: mean(name) for name in scores},
    }


def _json_bytes(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n").encode()


def _file_entry(path: Path) -> dict[str, Any]:
    return {"sha256": sha256_file(path), "bytes": path.stat().st_size}


def _is_whole(out: Path, manifest: Mapping[str, Any]) -> bool:
    """Whether every published file is there with its size, and no other shard is."""
    files: Mapping[str, Any] = manifest.get("files", {})
    for name, entry in files.items():
        path = out / name
        if not path.is_file() or path.stat().st_size != entry["bytes"]:
            return False
    present = {f"{d}/{p.name}" for d in ("shards", "rejected") for p in (out / d).glob("*")}
    return present == {name for name in files if "/" in name}


def _publish(out: Path, staging: Path, manifest: Mapping[str, Any], derived: tuple[str, ...]) -> None:
    """Move the staged files into place. Until the manifest is back, the folder counts as unpublished."""
    for name in ("manifest.json", *derived):
        (out / name).unlink(missing_ok=True)
    for folder in ("shards", "rejected"):
        if (out / folder).exists():
            (out / folder).replace(staging / f"old-{folder}")
        (staging / folder).replace(out / folder)
    for name in ("index.parquet", "README.md"):
        (staging / name).replace(out / name)
    write_bytes_atomic(out / "manifest.json", _json_bytes(manifest))
    shutil.rmtree(staging)
