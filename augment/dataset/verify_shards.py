"""Check the published files: hashes, tars, and every sample by itself."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections import Counter
from collections.abc import Iterator
from typing import Any

from augment.dataset.record import SAMPLE_FILES, EditRecord
from augment.dataset.verification import Verification
from augment.errors import ImageError, RecordError
from augment.inputs.fit import fit_of
from augment.inputs.images import decode_image
from augment.ledger.plan import Plan
from augment.storage.store import Store
from augment.storage.tar import iter_tar
from augment.types import EditStatus

FOLDERS = {"shards": EditStatus.ACCEPTED, "rejected": EditStatus.REJECTED}
Row = dict[str, Any]  # what the index is to say about a sample: `status` and `shard`; more if it can be read


class PublishedShards:
    """The published files. Each tar is read once: its hash, its samples, and what the index is to say about them."""

    def __init__(self, store: Store, plan: Plan, files: dict[str, Any], result: Verification) -> None:
        self.store, self.plan, self.files, self.result = store, plan, files, result
        self.sizes: Counter[tuple[int, int]] = Counter()
        found = {folder: store.list(folder) for folder in FOLDERS}
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
        """Check every sample of a tar that was not read yet, and return what the index is to say, by key."""
        del self.unread[name]
        status = FOLDERS[name.partition("/")[0]]
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
        """Note the problems that are known only when all tars are read."""
        if "input.fit" in self.plan.fingerprint and (fit := fit_of(self.plan.fingerprint)).sizes_differ:
            wrong = sorted(size for size in self.sizes if not fit.allows(*size))
            if wrong:
                sizes = ", ".join(f"{w}x{h}" for w, h in wrong)
                self.result.problems.append(f"pictures have sizes that input.fit {fit.name!r} does not give: {sizes}")
        elif len(self.sizes) > 1:
            sizes = ", ".join(f"{w}x{h}" for w, h in sorted(self.sizes))
            self.result.problems.append(f"pictures have different sizes: {sizes}")


def _sample_problems(
    key: str, files: dict[str, bytes], status: EditStatus, plan: Plan, sizes: Counter[tuple[int, int]], row: Row
) -> Iterator[str]:
    """Yield the problems of one sample; also count its picture's size, and add to `row` what its record says."""
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
    if record.config_hash != plan.config_hash:
        yield f"json: config_hash is {record.config_hash}, the plan's {plan.config_hash}"
