"""The generations of a published dataset: their names, and which of them is the published one.

Every file that `manifest.json` names has its generation in its name, a hash of all that the dataset is made from:

    shards/train-0123456789ab-000000.tar   rejected/rejected-0123456789ab-000000.tar   index/0123456789ab.parquet

So the files of the next generation come beside those of the published one, `manifest.json` changes from one to the
other in one step, and a reader of a manifest finds exactly the files that it names. The same dataset has the same
names.

Files that are removed may go late: a driver may be suspended in the middle of it. In an object store nothing can stop
it then, so it says before which generations it removes, and until it has ended no other driver uses their names again.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from augment.ledger.lost_parts import hash_of_inputs
from augment.ledger.plan import Plan
from augment.ledger.staging import FOLDER, Staging
from augment.storage.store import Store
from augment.types import UnitReport

MANIFEST_FORMAT = 2
FOLDERS = ("shards", "rejected", "index")
_DIGITS = 12  # of a hash in a name
_SERIES = {"shards": "train", "rejected": "rejected"}
_GENERATION = re.compile(r"(?:shards/train-|rejected/rejected-|index/)([0-9a-f]{12}(?:r\d+)?)[-.]")
# Earlier releases had no generation in the names of shards.
_OWN = re.compile(
    r"(?:shards/train|rejected/rejected)(?:-[0-9a-f]{12}(?:r\d+)?)?-\d{6}(?:\.tar|_stats\.json)"
    r"|index/[0-9a-f]{12}(?:r\d+)?\.parquet"
)
_REMOVING = re.compile(rf"{FOLDER}/removing-\d+\.json")


def shard_name(folder: str, generation: str, number: int) -> str:
    """Return the name of a shard in `shards` or `rejected`."""
    return f"{folder}/{_SERIES[folder]}-{generation}-{number:06d}.tar"


def index_name(generation: str) -> str:
    """Return the name of the index of a generation."""
    return f"index/{generation}.parquet"


def index_of(manifest: Mapping[str, Any]) -> str:
    """Return the name of the index that a manifest names; manifests of earlier releases name it `index.parquet`."""
    return next((name for name in manifest["files"] if name.startswith("index/")), "index.parquet")


def read_manifest(store: Store) -> dict[str, Any] | None:
    """Return the published manifest; None if there is none, or only a damaged one."""
    try:
        manifest = json.loads(store.read("manifest.json"))
        [(entry["sha256"], entry["bytes"]) for entry in manifest["files"].values()]
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return dict(manifest)


def inputs_of(
    plan: Plan, reports: Iterable[UnitReport], judge_settings: Mapping[str, Any], limits: Mapping[str, int]
) -> str:
    """Return the hash of all that a dataset is made from.

    Args:
        plan: of the dataset.
        reports: of all its units, in the order of the plan.
        judge_settings: what the verdicts depend on, as JSON.
        limits: of the shards, by name.
    """
    return hash_of_inputs(MANIFEST_FORMAT, plan.digest, (report.sha256 for report in reports), judge_settings, limits)


def is_made_from(manifest: Mapping[str, Any], plan: Plan, reports: Sequence[UnitReport]) -> bool:
    """Return whether a manifest is that of a plan whose units are all done, and of the parts that are committed now.

    Args:
        manifest: those of earlier releases say nothing of the limits of their shards; the parts of these are believed.
        plan: of the folder.
        reports: as for `inputs_of`.
    """
    if manifest.get("plan") != plan.digest or len(reports) < plan.units:
        return False
    limits = manifest.get("limits")
    return limits is None or manifest.get("inputs") == inputs_of(plan, reports, manifest.get("filters", {}), limits)


def published_files(store: Store) -> dict[str, int]:
    """Return names and sizes of all files in the folders of shards and indexes, whatever generation they are of."""
    return {name: size for folder in FOLDERS for name, size in store.list(folder).items()}


def left_over(store: Store, manifest: Mapping[str, Any]) -> list[str]:
    """Return the names of the files of other generations than that of a manifest; nothing that no run can have made."""
    return [name for name in published_files(store) if name not in manifest["files"] and _OWN.fullmatch(name)]


def free_generation(store: Store, inputs: str) -> str:
    """Return the name for the generation that is made from `inputs`, a hash."""
    taken = set[str]()
    for _, data in store.read_many(name for name in store.list(FOLDER) if _REMOVING.fullmatch(name)):
        taken.update(json.loads(data))
    names = itertools.chain([inputs[:_DIGITS]], (f"{inputs[:_DIGITS]}r{n}" for n in itertools.count(2)))
    return next(name for name in names if name not in taken)


def remove_others(store: Store, staging: Staging, number: int, names: Iterable[str]) -> None:
    """Remove files of other generations than the published one.

    Args:
        store: the output folder.
        staging: by which they are removed.
        number: of the lease.
        names: of the files.

    Raises:
        OutputError: if the lease is lost.
    """
    wanted, note = sorted(names), f"{FOLDER}/removing-{number:06d}.json"
    if not wanted:
        return
    if not store.withdraws_at_once:
        generations = {match[1] for name in wanted if (match := _GENERATION.match(name))}
        store.write(note, json.dumps(sorted(generations)).encode())
    staging.remove(wanted)
    store.remove([note])
