"""Check a finished output folder against its plan, its manifest and its own rules. Reads only; writes nothing."""

from __future__ import annotations

import tarfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from augment.data.finalize import read_manifest
from augment.data.images import ImageError, decode_image
from augment.data.index import read_index
from augment.data.ledger import Ledger, OutputError
from augment.data.plan import Plan
from augment.data.shards import SAMPLE_FILES, SCORE_FIELDS, EditRecord, RecordError, edit_key
from augment.data.tar import iter_tar, sha256_file
from augment.types import EditStatus

_FOLDERS = {"shards": EditStatus.ACCEPTED, "rejected": EditStatus.REJECTED}
Row = dict[str, Any]  # what the index is to say about a sample: `status` and `shard`; of a readable one more


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
    manifest = read_manifest(ledger.out)
    if manifest is None:
        result.problems.append("manifest.json is missing or not readable: run `augment expand` or `augment finalize`")
        return result
    if manifest.get("plan") != plan.digest:
        result.problems.append(f"manifest.json is of the plan {manifest.get('plan')}, plan/ is {plan.digest}")
    result.problems += _check_files(ledger.out, manifest)
    result.problems += [f"{name}: missing" for name in derived if not (ledger.out / name).is_file()]
    shown = _check_samples(ledger.out, plan, result)
    _check_index(ledger, shown, result)
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


def _check_files(out: Path, manifest: dict[str, Any]) -> Iterator[str]:
    files: dict[str, Any] = manifest["files"]
    for name, entry in files.items():
        path = out / name
        if not path.is_file():
            yield f"{name}: missing"
        elif sha256_file(path) != entry["sha256"]:
            yield f"{name}: its sha256 is not the one in manifest.json"
    for folder in _FOLDERS:
        for path in sorted((out / folder).glob("*")):
            if f"{folder}/{path.name}" not in files:
                yield f"{folder}/{path.name}: not in manifest.json; a stale or foreign file"


def _check_samples(out: Path, plan: Plan, result: Verification) -> dict[str, Row]:
    """Check every sample of every shard; returns what each key met is to have in the index."""
    shown: dict[str, Row] = {}
    sizes: Counter[tuple[int, int]] = Counter()
    for folder, status in _FOLDERS.items():
        paths = sorted((out / folder).glob("*.tar"))
        for path in paths:
            name = f"{folder}/{path.name}"
            try:
                for key, files in iter_tar(path):
                    if key in shown:
                        result.problems.append(f"{name}: the key {key} occurs a second time")
                    shown[key] = {"status": status.value, "shard": name}
                    problems = _sample_problems(key, files, status, plan, sizes, shown[key])
                    result.problems += [f"{name}: {key}: {problem}" for problem in problems]
            except (tarfile.TarError, OSError) as error:
                result.problems.append(f"{name}: not a readable tar ({error})")
        if folder == "shards":
            result.shards = len(paths)
    counts = Counter(row["status"] for row in shown.values())
    result.accepted, result.rejected = counts[EditStatus.ACCEPTED], counts[EditStatus.REJECTED]
    if len(sizes) > 1:
        result.problems.append(f"pictures have different sizes: {', '.join(f'{w}x{h}' for w, h in sorted(sizes))}")
    return shown


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


def _check_index(ledger: Ledger, shown: dict[str, Row], result: Verification) -> None:
    """Every planned edit has its row, and the row says what the shards say."""
    try:
        rows = read_index(ledger.out / "index.parquet", ["key", "status", "reason", "shard", "label", *SCORE_FIELDS])
    except (OSError, ValueError) as error:  # pyarrow's errors are ValueErrors
        result.problems.append(f"index.parquet: not readable ({error})")
        return
    result.failed = sum(row["status"] == EditStatus.FAILED for row in rows)
    indexed = {row["key"]: row["status"] for row in rows}
    planned = {edit_key(p.source.key, v.index) for u in ledger.units() for p in u.sources for v in p.variants}
    if len(indexed) != len(rows):
        result.problems.append(f"index.parquet: {len(rows) - len(indexed)} keys occur more than once")
    for words, keys in (
        ("planned, but not in index.parquet", planned - indexed.keys()),
        ("in index.parquet, but not planned", indexed.keys() - planned),
        ("in a shard, but not in index.parquet", shown.keys() - indexed.keys()),
    ):
        if keys:
            result.problems.append(f"{len(keys)} edits are {words}, the first is {min(keys)}")
    for row in rows:
        for name, value in shown.get(row["key"], {"status": EditStatus.FAILED.value, "shard": ""}).items():
            if row[name] != value:
                what = "" if name == "status" else f" its {name}"
                result.problems.append(f"index.parquet: {row['key']}{what} is {row[name]}, the shards say {value}")
        if row["status"] != EditStatus.ACCEPTED and not row["reason"]:
            result.problems.append(f"index.parquet: {row['key']} is {row['status']} without a reason")
