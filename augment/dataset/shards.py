"""The files of a dataset while it is built: each is made in a scratch folder and staged beside the published ones."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from augment.dataset.assembly import EXTRA_SCORES, PartScan, PlacedSample, ScannedEdit, write_shard
from augment.dataset.generation import MANIFEST_FORMAT, index_name, shard_name
from augment.dataset.index import IndexWriter
from augment.dataset.parts import LocalPart
from augment.dataset.processes import Processes, Run
from augment.dataset.record import EDITED, SCORE_FIELDS, verdict_bytes
from augment.ledger.plan import Plan
from augment.ledger.staging import Staging
from augment.storage.tar import sha256_file
from augment.types import EditStatus, UnitReport, Verdict

Judge = Callable[[Mapping[str, float]], Verdict]
Entry = dict[str, Any]  # of the manifest, for one file


class ShardLimits(BaseModel):
    """How large a published shard may grow."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_shard_samples: int = Field(default=1000, gt=0, description="samples per shard")
    max_shard_bytes: int = Field(
        default=256 * 2**20, gt=0, description="bytes of files per shard; one sample always fits"
    )


class _ShardSeries:
    """The shards of one folder, one after the other, each within the limits; with a file of statistics beside each.

    Args:
        folder: in which they will be.
        generation: of the dataset.
        limits: of each shard.
        scratch: a folder on this machine.
    """

    def __init__(self, folder: str, generation: str, limits: ShardLimits, scratch: Path) -> None:
        self.folder, self.generation, self.limits, self.scratch = folder, generation, limits, scratch
        self.samples: list[PlacedSample] = []
        self.edits: list[ScannedEdit] = []
        self.bytes = 0
        self.count = 0

    @property
    def name(self) -> str:
        """Return the name of the shard that is being filled."""
        return shard_name(self.folder, self.generation, self.count)

    def is_full(self, size: int) -> bool:
        """Return whether a sample of so many bytes belongs to the next shard."""
        return bool(self.samples) and (
            len(self.samples) == self.limits.max_shard_samples or self.bytes + size > self.limits.max_shard_bytes
        )

    def add(self, edit: ScannedEdit, sample: PlacedSample, part: LocalPart, size: int) -> None:
        """Add a sample of a part. What is in a file that does not stay is copied."""
        if part.temporary:
            with self._kept().open("ab") as file:
                sample = part.copy(sample, file)
        self.samples.append(sample)
        self.edits.append(edit)
        self.bytes += size

    def _kept(self) -> Path:
        return self.scratch / f"{Path(self.name).stem}.files"

    def take(self) -> tuple[str, list[PlacedSample], bytes, Path]:
        """Return name, samples, statistics and the file of copies of the shard, and begin the next one."""
        taken = (self.name, self.samples, json_bytes(_statistics(self.edits)), self._kept())
        self.samples, self.edits, self.bytes, self.count = [], [], 0, self.count + 1
        return taken


class DatasetBuilder:
    """Judges edits one by one, and stages their samples and a row of the index for each.

    Args:
        staging: where finished files go.
        processes: that write the shards.
        scratch: a folder on this machine.
        generation: of the dataset, which is in the names of its files.
        limits: of each shard.
    """

    def __init__(
        self, staging: Staging, processes: Processes, scratch: Path, generation: str, limits: ShardLimits
    ) -> None:
        self.staging, self.processes, self.scratch = staging, processes, scratch
        self.generation, self.limits = generation, limits
        self.series: dict[EditStatus, _ShardSeries] = {
            EditStatus.ACCEPTED: _ShardSeries("shards", generation, limits, scratch),
            EditStatus.REJECTED: _ShardSeries("rejected", generation, limits, scratch),
        }
        self.index = IndexWriter(scratch / "index.parquet")
        self.files: dict[str, Entry] = {}
        self.counts: Counter[str] = Counter()
        self.by_class: dict[str, Counter[str]] = {}
        self.reasons: Counter[str] = Counter()
        self._written: deque[Future[dict[str, Entry]]] = deque()

    def add(self, scan: PartScan, part: LocalPart, judge: Judge) -> None:
        """Judge the edits of a part, give each that has a picture a place in a shard, and count it."""
        statuses, reasons, shards = [], [], []
        for edit in scan.edits:
            status, reason, shard = EditStatus.FAILED, edit.reason, ""
            if edit.status == EDITED:
                verdict = judge({name: edit.scores[name] for name in SCORE_FIELDS})
                status = EditStatus.ACCEPTED if verdict.keep else EditStatus.REJECTED
                reason, shard = verdict.reason, self._place(edit, status, verdict.reason, part)
            statuses.append(status.value)
            reasons.append(reason)
            shards.append(shard)
            self.counts[status] += 1
            self.by_class.setdefault(edit.class_name, Counter())[status] += 1
            if status is not EditStatus.ACCEPTED:
                self.reasons[f"failed: {edit.stage}" if status is EditStatus.FAILED else reason.split()[0]] += 1
        if scan.edits:
            self.index.add(scan.columns | {"status": statuses, "reason": reasons, "shard": shards})

    def _place(self, edit: ScannedEdit, status: EditStatus, reason: str, part: LocalPart) -> str:
        series, size = self.series[status], edit.size + verdict_bytes(status.value, reason)
        if series.is_full(size):
            self._write(series)
        series.add(edit, PlacedSample(edit.key, str(part.path), edit.files, status.value, reason), part, size)
        return series.name

    def _write(self, series: _ShardSeries) -> None:
        """Let a process write a shard; wait if all of them are far behind."""
        self._written.append(self.processes.submit(_written_shard, self.staging, self.scratch, *series.take()))
        while len(self._written) > 2 * self.processes.count:
            self.files |= self._written.popleft().result()

    def close(
        self, plan: Plan, reports: list[UnitReport], judge_settings: dict[str, Any], inputs: str
    ) -> dict[str, Any]:
        """Stage what is left and return the manifest."""
        for series in self.series.values():
            if series.samples:
                self._write(series)
        self.index.close()
        index, name = self.scratch / "index.parquet", index_name(self.generation)
        self.files[name] = {"sha256": sha256_file(index), "bytes": index.stat().st_size}
        self.staging.put(index, name)
        for written in self._written:
            self.files |= written.result()
        inverted = sum(r.inverted for r in reports)
        return {
            "format": MANIFEST_FORMAT,
            "generation": self.generation,
            "inputs": inputs,
            "plan": plan.digest,
            "settings": plan.settings,
            "filters": judge_settings,
            "limits": self.limits.model_dump(),
            "planned": sum(self.counts.values()),
            **{status.value: self.counts[status] for status in EditStatus},
            "shards": self.series[EditStatus.ACCEPTED].count,
            "reasons": dict(sorted(self.reasons.items())),
            "classes": {
                name: {status.value: counts[status] for status in EditStatus}
                for name, counts in sorted(self.by_class.items())
            },
            "inverted": inverted,
            "mean_reconstruction_psnr": sum(r.psnr_sum for r in reports) / inverted if inverted else None,
            "mean_vae_psnr": sum(r.vae_psnr_sum for r in reports) / inverted if inverted else None,
            "files": dict(sorted(self.files.items())),
        }


def _written_shard(
    run: Run, staging: Staging, scratch: Path, name: str, samples: list[PlacedSample], statistics: bytes, kept: Path
) -> dict[str, Entry]:
    """Write and stage a shard with its statistics; return their entries of the manifest."""
    path, beside = scratch / Path(name).name, f"{name.removesuffix('.tar')}_stats.json"
    sha256, size = run(write_shard, str(path), samples)
    kept.unlink(missing_ok=True)
    staging.put(path, name)
    staging.write(beside, statistics)
    return {
        name: {"sha256": sha256, "bytes": size, "samples": len(samples)},
        beside: {"sha256": hashlib.sha256(statistics).hexdigest(), "bytes": len(statistics)},
    }


def _statistics(edits: list[ScannedEdit]) -> dict[str, Any]:
    """Return what a shard holds, for people and for loaders that want counts."""

    def mean(name: str) -> float:
        return sum(edit.scores[name] for edit in edits) / len(edits)

    return {
        "samples": len(edits),
        "first_key": edits[0].key,
        "last_key": edits[-1].key,
        "classes": dict(sorted(Counter(edit.class_name for edit in edits).items())),
        "mean": {name: mean(name) for name in (*SCORE_FIELDS, *EXTRA_SCORES)},
    }


def json_bytes(value: Mapping[str, Any]) -> bytes:
    """Return a mapping as indented JSON with sorted keys. Raises ValueError for NaN and infinity."""
    return (json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n").encode()
