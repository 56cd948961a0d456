"""Check the published files: hashes, tars, and every sample by itself."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import Future
from itertools import islice
from pathlib import Path
from typing import Any

from augment.dataset.generation import FOLDERS
from augment.dataset.processes import Processes, Run
from augment.dataset.verification import Verification
from augment.dataset.verify_samples import CheckedShard, Expected, Row, check_shard
from augment.inputs.fit import fit_of
from augment.ledger.plan import Plan
from augment.storage.store import Store
from augment.types import EditStatus

STATUS_OF_FOLDER = {"shards": EditStatus.ACCEPTED, "rejected": EditStatus.REJECTED}


class PublishedShards:
    """The published files. Each tar is read once: its hash, its samples, and what the index is to say about them.

    Args:
        store: the output folder.
        plan: of the folder.
        files: what the manifest says about each file, by name.
        result: takes the problems and the counts.
        processes: that read the tars, the next ones while the last one is compared.

    Attributes:
        unread: names of the tars that were not asked for yet.
    """

    def __init__(
        self, store: Store, plan: Plan, files: dict[str, Any], result: Verification, processes: Processes
    ) -> None:
        self.store, self.plan, self.files, self.result, self.processes = store, plan, files, result, processes
        self.sizes: Counter[tuple[int, int]] = Counter()
        self._expected = Expected(plan.class_names, plan.config_hash)
        found = {folder: store.list(folder) for folder in FOLDERS}
        tars = [name for folder in STATUS_OF_FOLDER for name in found[folder] if name.endswith(".tar")]
        self.unread = dict.fromkeys(tars)
        self._coming: dict[str, Future[CheckedShard]] = {}
        result.shards = sum(name.startswith("shards/") for name in tars)
        for name in (name for listed in found.values() for name in listed if name not in files):
            result.problems.append(f"{name}: not in manifest.json; a stale or foreign file")
        for name in files:
            if name in self.unread:
                continue
            try:
                self.check_hash(name, store.sha256(name))
            except FileNotFoundError:
                result.problems.append(f"{name}: missing")

    def check_hash(self, name: str, sha256: str) -> None:
        """Note a file that has another hash than the manifest says."""
        if name in self.files and sha256 != self.files[name]["sha256"]:
            self.result.problems.append(f"{name}: its sha256 is not the one in manifest.json")

    def read(self, name: str) -> dict[str, Row]:
        """Check every sample of a tar that was not read yet, and return what the index is to say, by key."""
        folder = name.partition("/")[0]
        self._let_come([name])
        del self.unread[name]
        ahead = (other for other in self.unread if other.startswith(f"{folder}/"))
        self._let_come(islice(ahead, self.processes.count))
        shard = self._coming.pop(name).result()
        self.check_hash(name, shard.sha256)
        self.result.problems += shard.problems
        self.sizes += shard.sizes
        if STATUS_OF_FOLDER[folder] is EditStatus.ACCEPTED:
            self.result.accepted += len(shard.rows)
        else:
            self.result.rejected += len(shard.rows)
        return shard.rows

    def _let_come(self, names: Iterable[str]) -> None:
        for name in names:
            if name not in self._coming:
                status = STATUS_OF_FOLDER[name.partition("/")[0]]
                self._coming[name] = self.processes.submit(_checked, self.store, name, status, self._expected)

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


def _checked(run: Run, store: Store, name: str, status: EditStatus, expected: Expected) -> CheckedShard:
    with tempfile.TemporaryDirectory(prefix="augment-") as folder:
        path = store.local_path(name)
        if path is None:
            path = Path(folder) / "shard.tar"
            store.download(name, path)
        shard: CheckedShard = run(check_shard, str(path), name, status, expected)
    return shard
