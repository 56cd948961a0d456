"""The files of a dataset while it is built: each is made in a scratch folder and staged beside the published ones."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from augment.dataset.card import dataset_card
from augment.dataset.index import IndexWriter
from augment.dataset.record import EDITED, EditRecord, edit_files
from augment.ledger.ledger import Ledger
from augment.ledger.plan import Plan
from augment.storage.tar import sha256_file, write_tar
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


def staged_name(ledger: Ledger, name: str) -> str:
    """Return the name under which a file waits to be published.

    The fencing token is part of it: a driver that has lost its lock without knowing uses another folder than the next
    one.
    """
    return f"{STAGING}/{ledger.fencing_token}/{name}"


class _Staging:
    """Files built in the scratch folder and put beside the published ones, with the manifest's entry for each."""

    def __init__(self, ledger: Ledger, scratch: Path) -> None:
        self.ledger, self.scratch = ledger, scratch
        self.files: dict[str, dict[str, Any]] = {}

    def take(self, path: Path, name: str, **known: Any) -> None:
        """Move a finished file of the scratch folder to the staged ones."""
        self.files[name] = {"sha256": sha256_file(path), "bytes": path.stat().st_size} | known
        self.ledger.confirm_lock()
        self.ledger.store.put(path, staged_name(self.ledger, name))

    def write(self, name: str, data: bytes) -> None:
        """Write a small file to the staged ones."""
        self.files[name] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
        self.ledger.confirm_lock()
        self.ledger.store.write(staged_name(self.ledger, name), data)


class _ShardSeries:
    """`<folder>/<name>-000000.tar` and its statistics, one after the other, each within the limits."""

    def __init__(self, staging: _Staging, folder: str, name: str, limits: ShardLimits) -> None:
        self.staging, self.folder, self.name, self.limits = staging, folder, name, limits
        self.pending: list[tuple[str, dict[str, bytes]]] = []
        self.records: list[EditRecord] = []
        self.bytes = 0
        self.count = 0

    def add(self, record: EditRecord, png: bytes) -> str:
        """Add a sample and return the name of the shard that it will be in."""
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
        """Stage the samples taken so far as one shard with its statistics."""
        if not self.pending:
            return
        path = self.staging.scratch / f"{self.name}.tar"
        samples = write_tar(path, self.pending)
        self.pending = []  # freed before the upload, which may hold the whole shard in memory
        self.staging.take(path, self._path("tar"), samples=samples)
        self.staging.write(self._path("json"), json_bytes(_statistics(self.records)))
        self.records, self.bytes, self.count = [], 0, self.count + 1


class DatasetBuilder:
    """Judges edits one by one, and stages their samples and a row of the index for each."""

    def __init__(self, ledger: Ledger, scratch: Path, limits: ShardLimits) -> None:
        self.staging = _Staging(ledger, scratch)
        self.series: dict[EditStatus, _ShardSeries] = {
            EditStatus.ACCEPTED: _ShardSeries(self.staging, "shards", "train", limits),
            EditStatus.REJECTED: _ShardSeries(self.staging, "rejected", "rejected", limits),
        }
        self.index = IndexWriter(scratch / "index.parquet")
        self.counts: Counter[str] = Counter()
        self.by_class: dict[str, Counter[str]] = {}
        self.reasons: Counter[str] = Counter()

    def add(self, record: EditRecord, png: bytes, judge: Judge) -> None:
        """Judge an edit, stage its sample if it has a picture, and count it."""
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
        """Stage what is left and return the manifest."""
        for series in self.series.values():
            series.flush()
        self.index.close()
        self.staging.take(self.staging.scratch / "index.parquet", "index.parquet")
        inverted = sum(r.inverted for r in reports)
        manifest: dict[str, Any] = {
            "format": MANIFEST_FORMAT,
            "inputs": inputs,
            "plan": plan.digest,
            "settings": plan.settings,
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
        self.staging.write("README.md", dataset_card(manifest).encode())
        return manifest | {"files": dict(sorted(self.staging.files.items()))}


def reason_kind(record: EditRecord) -> str:
    """Return what a dropped edit is counted under: the stage of a failure, the score of a rejection."""
    return f"failed: {record.stage}" if record.status == EditStatus.FAILED else record.reason.split()[0]


def _statistics(records: list[EditRecord]) -> dict[str, Any]:
    """Return what a shard holds, for people and for loaders that want counts."""

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


def json_bytes(value: Mapping[str, Any]) -> bytes:
    """Return a mapping as indented JSON with sorted keys. Raises ValueError for NaN and infinity."""
    return (json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n").encode()
