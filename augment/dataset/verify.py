"""Check a finished output folder against its plan, its manifest and its own rules. Reads only; writes nothing.

Plan, index and shards are in one order, so they are read side by side, one shard of a kind in memory at a time; only
what does not match is kept until the end, where it may find its counterpart after all.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from augment.dataset.index import read_index, read_rows
from augment.dataset.publish import read_manifest
from augment.dataset.record import (
    SAMPLE_FILES,
    SCORE_FIELDS,
    EditRecord,
    edit_key,
)
from augment.errors import ImageError, OutputError, RecordError
from augment.inputs.images import decode_image
from augment.ledger.ledger import Ledger
from augment.ledger.plan import Plan
from augment.storage.store import Store
from augment.storage.tar import iter_tar
from augment.types import EditStatus

_FOLDERS = {"shards": EditStatus.ACCEPTED, "rejected": EditStatus.REJECTED}
_COLUMNS = ["key", "status", "stage", "reason", "shard", "label", *SCORE_FIELDS]
Row = dict[str, Any]  # what the index is to say about a sample: `status` and `shard`; of a readable one more
_NOT_SHOWN: Row = {"status": EditStatus.FAILED.value, "shard": ""}


@dataclass
class Verification:
    """What was found. `planned` comes from the plan; the other counts were counted, not read from the manifest.

    Attributes:
        accepted, rejected: samples in the shards of either kind. failed: rows of the index with that status.
        shards: number of shards for training.
        problems: one line each; empty if all is well.
    """

    planned: int = 0
    accepted: int = 0
    rejected: int = 0
    failed: int = 0
    shards: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.problems

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "ok": self.ok,
            "planned": self.planned,
            "accepted": self.accepted,
            "rejected": self.rejected,
            "failed": self.failed,
            "shards": self.shards,
            "problems": self.problems,
        }


def verify(out: Path | str, derived: Sequence[str] = ()) -> Verification:
    """Check tars, hashes, schema, pictures, labels, unique keys, and that planned = accepted + rejected + failed.

    Args:
        derived: names of files that others make from the dataset, and that are to be there.

    Raises:
        OutputError: if the folder is no output of this job at all, or its plan is not readable.
    """
    ledger = Ledger(out)
    plan = ledger.read_plan()
    if plan is None:
        raise OutputError(f"{out} has no plan/plan.json: it is no output folder of `augment expand`.")
    result = Verification(planned=plan.planned)
    manifest = read_manifest(ledger.store)
    if manifest is None:
        result.problems.append("manifest.json is missing or not readable: run `augment expand` or `augment finalize`")
        return result
    if manifest.get("plan") != plan.digest:
        result.problems.append(f"manifest.json is of the plan {manifest.get('plan')}, plan/ is {plan.digest}")
    result.problems += [f"{name}: missing" for name in derived if not ledger.store.exists(name)]
    shards = _Shards(ledger.store, plan, manifest["files"], result)
    _check_index(ledger, shards, result)
    shards.close()
    _check_plan(ledger, result)
    total = result.accepted + result.rejected + result.failed
    if total != result.planned:
        result.problems.append(
            f"planned {result.planned}, but accepted {result.accepted} + rejected {result.rejected} + "
            f"failed {result.failed} = {total}"
        )
    for name in ("planned", "accepted", "rejected", "failed", "shards"):
        if manifest.get(name) != getattr(result, name):
            result.problems.append(f"manifest.json says {name} {manifest.get(name)}, found {getattr(result, name)}")
    return result


class _Shards:
    """The published files. Each tar is read once: its hash, its samples, and what the index is to say about them."""

    def __init__(self, store: Store, plan: Plan, files: dict[str, Any], result: Verification) -> None:
        self.store, self.plan, self.files, self.result = store, plan, files, result
        self.sizes: Counter[tuple[int, int]] = Counter()
        found = {folder: store.list(folder) for folder in _FOLDERS}
        self.unread = dict.fromkeys(name for listed in found.values() for name in listed if name.endswith(".tar"))
        result.shards = sum(name.startswith("shards/") for name in self.unread)
        for name in (name for listed in found.values() for name in listed if name not in files):
            result.problems.append(f"{name}: not in manifest.json; a stale or foreign file")
        for name in files:
            if name in self.unread:
                continue
            try:
                self._check_hash(name, store.sha256(name))
            except FileNotFoundError:
                result.problems.append(f"{name}: missing")

    def _check_hash(self, name: str, sha256: str) -> None:
        if name in self.files and sha256 != self.files[name]["sha256"]:
            self.result.problems.append(f"{name}: its sha256 is not the one in manifest.json")

    def read(self, name: str) -> dict[str, Row]:
        """Check every sample of a tar that was not read yet; what the index is to say, by key."""
        del self.unread[name]
        status = _FOLDERS[name.partition("/")[0]]
        data = self.store.read(name)
        self._check_hash(name, hashlib.sha256(data).hexdigest())
        shown: dict[str, Row] = {}
        try:
            for key, files in iter_tar(io.BytesIO(data)):
                if key in shown:
                    self.result.problems.append(f"{name}: the key {key} occurs a second time")
                shown[key] = {"status": status.value, "shard": name}
                problems = _sample_problems(key, files, status, self.plan, self.sizes, shown[key])
                self.result.problems += [f"{name}: {key}: {problem}" for problem in problems]
        except (tarfile.TarError, OSError) as error:
            self.result.problems.append(f"{name}: not a readable tar ({error})")
        if status is EditStatus.ACCEPTED:
            self.result.accepted += len(shown)
        else:
            self.result.rejected += len(shown)
        return shown

    def close(self) -> None:
        """Say what can only be said when all are read."""
        if len(self.sizes) > 1:
            sizes = ", ".join(f"{w}x{h}" for w, h in sorted(self.sizes))
            self.result.problems.append(f"pictures have different sizes: {sizes}")


def _sample_problems(
    key: str, files: dict[str, bytes], status: EditStatus, plan: Plan, sizes: Counter[tuple[int, int]], row: Row
) -> Iterator[str]:
    """Problems of one sample; also counts its picture's size, and adds to `row` what its record says."""
    if files.keys() != SAMPLE_FILES:
        yield f"has {', '.join(sorted(files))} instead of {', '.join(sorted(SAMPLE_FILES))}"
        return
    try:
        sizes[decode_image(files["png"]).size] += 1
    except ImageError as error:
        yield f"png: {error}"
    try:
        record = EditRecord.from_json(files["json"])
    except RecordError as error:
        yield f"json: {error}"
        return
    row |= {"reason": record.reason, "label": record.label} | record.scores()
    if record.key != key:
        yield f"json: key is {record.key}"
    if record.status != status:
        yield f"json: status is {record.status} in a shard of {status} edits"
    if bool(record.reason) != (status is EditStatus.REJECTED):
        yield f"json: an edit that was {status} has the reason {record.reason!r}"
    if files["cls"] != str(record.label).encode():
        yield f"cls is {files['cls']!r}, the label in json {record.label}"
    if plan.class_names.get(record.label) != record.class_name:
        yield f"json: label {record.label} is not the class {record.class_name!r} of the plan"
    if files["txt"] != record.target_prompt.encode():
        yield "txt is not the target prompt in json"
    if record.config_hash != plan.digest:
        yield f"json: config_hash is {record.config_hash}, the plan's {plan.digest}"


def _check_index(ledger: Ledger, shards: _Shards, result: Verification) -> None:
    """Every planned edit has its row, and the row says what the shards say."""
    join = _Join(shards, result)
    balance: Counter[str] = Counter()  # planned keys minus keys of the index; empty but for a few, as they go along
    planned = _planned_keys(ledger)
    try:
        with ledger.store.open("index.parquet") as file:
            for row in read_index(file, _COLUMNS):
                join.add(row)
                if (key := next(planned, None)) != row["key"]:
                    _count(balance, row["key"], -1)
                    if key is not None:
                        _count(balance, key, 1)
            for key in planned:
                _count(balance, key, 1)
            join.close()
            # What is left has no row that says so; it may have one that says otherwise.
            rows = read_rows(file, join.samples) if join.samples else {}
    except (OSError, ValueError) as error:  # pyarrow's errors are ValueErrors
        result.problems.append(f"index.parquet: not readable ({error})")
        for name in list(shards.unread):
            shards.read(name)
        return
    surplus = {key: -count for key, count in balance.items() if count < 0}
    foreign = surplus.keys() - (_planned_keys(ledger) if surplus else ())
    if repeated := sum(count - (key in foreign) for key, count in surplus.items()):
        result.problems.append(f"index.parquet: {repeated} keys occur more than once")
    for words, keys in (
        ("planned, but not in index.parquet", {key for key, count in balance.items() if count > 0}),
        ("in index.parquet, but not planned", foreign),
        ("in a shard, but not in index.parquet", join.samples.keys() - rows.keys()),
    ):
        if keys:
            result.problems.append(f"{len(keys)} edits are {words}, the first is {min(keys)}")
    for key, row in rows.items():
        if row["status"] == EditStatus.FAILED:
            join.compare(row, join.samples[key])
        else:
            result.problems.append(f"{join.samples[key]['shard']}: the key {key} occurs a second time")


class _Join:
    """Rows of the index and samples of the shards, which belong together in pairs.

    Attributes:
        samples: what the index is to say about samples that have found no row, by key.
    """

    def __init__(self, shards: _Shards, result: Verification) -> None:
        self.shards, self.result = shards, result
        self.samples: dict[str, Row] = {}
        self._rows: dict[str, Row] = {}  # those that say they are in a shard, but have found no sample there
        self._current: dict[str, dict[str, Row]] = {folder: {} for folder in _FOLDERS}

    def add(self, row: Row) -> None:
        key, shard, failed = row["key"], row["shard"], row["status"] == EditStatus.FAILED
        self.result.failed += failed
        if shard in self.shards.unread:
            self._read(shard)
        sample = self._current.get(shard.partition("/")[0], {}).pop(key, None)
        if sample is not None:
            self.compare(row, sample)
        elif shard or not failed:
            self._rows[key] = row
        if bool(row["stage"]) != failed:
            stage = f"in the stage {row['stage']!r}" if row["stage"] else "without a stage"
            self.result.problems.append(f"index.parquet: {key} is {row['status']} {stage}")
        if row["status"] != EditStatus.ACCEPTED and not row["reason"]:
            self.result.problems.append(f"index.parquet: {key} is {row['status']} without a reason")

    def _read(self, shard: str) -> None:
        folder = shard.partition("/")[0]
        self.samples |= self._current[folder]
        self._current[folder] = self.shards.read(shard)

    def close(self) -> None:
        """All rows are there: read the shards that none of them names, and pair what is left."""
        for shard in list(self.shards.unread):
            self._read(shard)
        for left in self._current.values():
            self.samples |= left
        for key, row in self._rows.items():
            self.compare(row, self.samples.pop(key, _NOT_SHOWN))

    def compare(self, row: Row, sample: Row) -> None:
        for name, value in sample.items():
            if row[name] != value:
                what = "" if name == "status" else f" its {name}"
                self.result.problems.append(f"index.parquet: {row['key']}{what} is {row[name]}, the shards say {value}")


def _count(balance: Counter[str], key: str, change: int) -> None:
    balance[key] += change
    if not balance[key]:
        del balance[key]


def _planned_keys(ledger: Ledger) -> Iterator[str]:
    return (edit_key(p.source.key, v.index) for u in ledger.units() for p in u.sources for v in p.variants)


def _check_plan(ledger: Ledger, result: Verification) -> None:
    """No edit is planned twice. With what was checked before, no key occurs twice anywhere."""
    hashes = np.sort(np.frombuffer(array("q", map(hash, _planned_keys(ledger))), dtype=np.int64))
    repeated = set(hashes[1:][hashes[1:] == hashes[:-1]].tolist())
    if repeated:
        counts = Counter(key for key in _planned_keys(ledger) if hash(key) in repeated)
        result.problems += [f"plan/: the edit {key} is planned {n} times" for key, n in counts.items() if n > 1]
