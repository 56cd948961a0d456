"""Check a finished output folder against its plan, its manifest and its own rules. Reads only; writes nothing."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from augment.dataset.card import dataset_card
from augment.dataset.generation import index_of, is_made_from, read_manifest
from augment.dataset.processes import Processes, process_count
from augment.dataset.publish import CARD, INDEX
from augment.dataset.verification import Verification
from augment.dataset.verify_index import check_index, planned_keys
from augment.dataset.verify_shards import PublishedShards
from augment.errors import OutputError
from augment.ledger.ledger import Ledger
from augment.ledger.plan import Plan


def verify(out: Path | str, derived: Sequence[str] = (), processes: int | None = None) -> Verification:
    """Check tars, hashes, schema, pictures, labels, unique keys, and that planned = accepted + rejected + failed.

    Args:
        derived: names of files that others make from the dataset, and that are to be there.
        processes: that share the work; as many as there are cores, if there is much of it.

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
    else:
        _check_commits(ledger, plan, manifest, result)
    result.problems += [f"{name}: missing" for name in derived if not ledger.store.exists(name)]
    files = manifest["files"]
    with Processes(processes or process_count(sum(entry["bytes"] for entry in files.values()))) as shared:
        shards = PublishedShards(ledger.store, plan, files, result, shared)
        check_index(ledger, index_of(manifest), shards, result)
        shards.close()
    _check_copies(ledger, manifest, result)
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


def _check_commits(ledger: Ledger, plan: Plan, manifest: Mapping[str, Any], result: Verification) -> None:
    """Check that the dataset is made of what is committed; a folder without some commits, as an archived one, is not.

    (A picture that was replaced changes parts and no setting.)
    """
    try:
        reports = ledger.committed()
    except OutputError as error:
        result.problems.append(str(error))
        return
    done = [reports[unit_id] for unit_id in plan.unit_ids if unit_id in reports]
    if len(done) == plan.units and not is_made_from(manifest, plan, done):
        result.problems.append(
            "manifest.json is of an earlier dataset: units of this plan were made again since. Run `augment expand` or "
            "`augment finalize`"
        )


def _check_copies(ledger: Ledger, manifest: Mapping[str, Any], result: Verification) -> None:
    """Check the files that are found under one name, whatever the generation."""
    if index_of(manifest) == INDEX:
        return  # of an earlier release, which has the one and only file under this name
    try:
        if ledger.store.sha256(INDEX) != manifest["files"][index_of(manifest)]["sha256"]:
            result.problems.append(f"{INDEX}: not the same as {index_of(manifest)}")
    except FileNotFoundError:
        result.problems.append(f"{INDEX}: missing")
    card = ledger.store.read_if_there(CARD)
    if card != dataset_card(manifest).encode():
        result.problems.append(f"{CARD}: " + ("missing" if card is None else "not the card of this dataset"))


def _check_plan(ledger: Ledger, result: Verification) -> None:
    """Check that no edit is planned twice. With what was checked before, no key occurs twice anywhere."""
    hashes = np.sort(np.frombuffer(array("q", map(hash, planned_keys(ledger))), dtype=np.int64))
    repeated = set(hashes[1:][hashes[1:] == hashes[:-1]].tolist())
    if repeated:
        counts = Counter(key for key in planned_keys(ledger) if hash(key) in repeated)
        result.problems += [f"plan/: the edit {key} is planned {n} times" for key, n in counts.items() if n > 1]
