"""Check a finished output folder against its plan, its manifest and its own rules. Reads only; writes nothing."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from augment.dataset.publish import read_manifest
from augment.dataset.verification import Verification
from augment.dataset.verify_index import check_index, planned_keys
from augment.dataset.verify_shards import PublishedShards
from augment.errors import OutputError
from augment.ledger.ledger import Ledger


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
    shards = PublishedShards(ledger.store, plan, manifest["files"], result)
    check_index(ledger, shards, result)
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


def _check_plan(ledger: Ledger, result: Verification) -> None:
    """Check that no edit is planned twice. With what was checked before, no key occurs twice anywhere."""
    hashes = np.sort(np.frombuffer(array("q", map(hash, planned_keys(ledger))), dtype=np.int64))
    repeated = set(hashes[1:][hashes[1:] == hashes[:-1]].tolist())
    if repeated:
        counts = Counter(key for key in planned_keys(ledger) if hash(key) in repeated)
        result.problems += [f"plan/: the edit {key} is planned {n} times" for key, n in counts.items() if n > 1]
