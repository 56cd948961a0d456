"""Committed parts -> the dataset: judge every edit, publish shards in plan order, account for everything planned.

Needs no GPU and no torch. Everything is built beside (`.finalize/`, one shard after the other) and moved into place at
the end, the manifest last: a folder whose `manifest.json` exists is whole. The bytes depend on the parts, the
thresholds and the shard limits.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from augment.dataset.card import dataset_card
from augment.dataset.index import IndexWriter
from augment.dataset.parts import read_parts
from augment.dataset.record import EDITED, EditRecord, edit_files
from augment.errors import OutputError
from augment.ledger.ledger import Ledger
from augment.ledger.plan import Plan, digest_of
from augment.storage.store import Store
from augment.storage.tar import sha256_file, write_tar
from augment.types import EditStatus, UnitReport, Verdict

MANIFEST_FORMAT = 1
STAGING = ".finalize"
_MOVED_AT_ONCE = 32  # files, between two looks at the lock
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


def publish(
    ledger: Ledger,
    *,
    judge: Judge,
    judge_settings: Mapping[str, Any],
    limits: ShardLimits,
    derived: tuple[str, ...] = (),
    check_hashes: bool = False,
) -> Finalized:
    """Publish the dataset of a folder whose units are all committed; call it under the ledger's lock.

    Args:
        judge: scores by name -> verdict.
        judge_settings: what `judge` depends on, as JSON; another value publishes anew.
        derived: names of files in the output that others make from the dataset, removed when it is published anew.
        check_hashes: also publish anew if a published file has other bytes than its sha256 says; reads all of them.

    Raises:
        OutputError: if there is no plan, units are not done, or a part is damaged.
    """
    plan = ledger.read_plan()
    if plan is None:
        raise OutputError(f"{ledger.store} has no plan/plan.json: it is no output folder of `augment expand`.")
    reports = ledger.recover(plan)  # again: a worker that outlived its driver may have written since
    if missing := plan.units - len(reports):
        raise OutputError(
            f"{ledger.store}: {missing} of {plan.units} units are not done. Run `augment expand` to go on."
        )
    ordered = [reports[unit_id] for unit_id in sorted(reports, key=lambda unit_id: (len(unit_id), unit_id))]
    inputs = digest_of(
        [MANIFEST_FORMAT, plan.digest, [r.sha256 for r in ordered], dict(judge_settings), limits.model_dump()]
    )
    store = ledger.store
    published = read_manifest(store)
    if published is not None and published.get("inputs") == inputs and _is_whole(store, published, check_hashes):
        return Finalized(False, published)

    store.clear(STAGING)
    with store.scratch() as scratch:
        builder = _Builder(ledger, scratch, limits)
        for record, png in read_parts(ledger, ordered):
            builder.add(record, png, judge)
        manifest = builder.close(plan, ordered, dict(judge_settings), inputs)
    if manifest["planned"] != plan.planned:
        raise OutputError(
            f"{store}: the plan wants {plan.planned} edits, the parts account for {manifest['planned']}. "
            "Delete commits/ and run `augment expand` again."
        )
    _publish(ledger, manifest, derived)
    return Finalized(True, manifest)


def read_manifest(store: Store) -> dict[str, Any] | None:
    """The published manifest, or None if there is none (or only the ruin of one)."""
    try:
        manifest = json.loads(store.read("manifest.json"))
        [(entry["sha256"], entry["bytes"]) for entry in manifest["files"].values()]
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return dict(manifest)


class _Staging:
    """Files built in the scratch folder and put beside the published ones, with the manifest's entry for each."""

    def __init__(self, ledger: Ledger, scratch: Path) -> None:
        self.ledger, self.scratch = ledger, scratch
        self.files: dict[str, dict[str, Any]] = {}

    def take(self, path: Path, name: str, **known: Any) -> None:
        """Move a finished file to where it is published from."""
        self.files[name] = {"sha256": sha256_file(path), "bytes": path.stat().st_size} | known
        self.ledger.confirm_lock()
        self.ledger.store.put(path, _staged(self.ledger, name))

    def write(self, name: str, data: bytes) -> None:
        self.files[name] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
        self.ledger.confirm_lock()
        self.ledger.store.write(_staged(self.ledger, name), data)


class _ShardSeries:
    """`<folder>/<name>-000000.tar` and its statistics, one after the other, each within the limits."""

    def __init__(self, staging: _Staging, folder: str, name: str, limits: ShardLimits) -> None:
        self.staging, self.folder, self.name, self.limits = staging, folder, name, limits
        self.pending: list[tuple[str, dict[str, bytes]]] = []
        self.records: list[EditRecord] = []
        self.bytes = 0
        self.count = 0

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
        path = self.staging.scratch / f"{self.name}.tar"
        samples = write_tar(path, self.pending)
        self.pending = []  # before the upload, which may hold the whole shard
        self.staging.take(path, self._path("tar"), samples=samples)
        self.staging.write(self._path("json"), _json_bytes(_statistics(self.records)))
        self.records, self.bytes, self.count = [], 0, self.count + 1


class _Builder:
    """Judges edits one by one and stages them, and a row for each."""

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
        self.staging.write("README.md", dataset_card(manifest).encode())
        return manifest | {"files": dict(sorted(self.staging.files.items()))}


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


def _is_whole(store: Store, manifest: Mapping[str, Any], check_hashes: bool) -> bool:
    """Whether every published file is there with its size (and its hash), and no other shard is."""
    files: Mapping[str, Any] = manifest["files"]
    present = store.list("shards") | store.list("rejected")
    if present.keys() != {name for name in files if "/" in name}:
        return False
    present |= store.list()
    if any(present.get(name) != entry["bytes"] for name, entry in files.items()):
        return False
    if not check_hashes:
        return True
    return all(store.sha256(name) == entry["sha256"] for name, entry in files.items())


def _staged(ledger: Ledger, name: str) -> str:
    """Where a file waits; a driver that has lost its lock and does not know yet uses another folder than the next."""
    return f"{STAGING}/{ledger.turn}/{name}"


def _publish(ledger: Ledger, manifest: Mapping[str, Any], derived: tuple[str, ...]) -> None:
    """Move the staged files into place. Until the manifest is back, the folder counts as unpublished."""
    store, files = ledger.store, manifest["files"]
    data = _json_bytes(manifest)  # whatever is wrong with it, nothing is removed for it
    ledger.confirm_lock()
    store.remove(["manifest.json", *derived])
    names = sorted(files)
    for start in range(0, len(names), _MOVED_AT_ONCE):
        ledger.confirm_lock()
        store.move({_staged(ledger, name): name for name in names[start : start + _MOVED_AT_ONCE]})
    ledger.confirm_lock()
    store.remove((store.list("shards") | store.list("rejected")).keys() - files.keys())
    store.write("manifest.json", data)
    store.clear(STAGING)
