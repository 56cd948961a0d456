"""Committed parts -> the dataset: judge every edit, publish shards in plan order, account for everything planned.

Needs no GPU and no torch. What is published depends on the parts, the thresholds and the shard limits, to the byte. At
every moment there is one whole dataset to be read, the old one or the new one:

1. all files are built and staged; those of the new generation are moved beside those of the published one;
2. `manifest.json` is replaced, in one step;
3. the files that have one name for all generations are replaced: `README.md`, `index.parquet`, what others make;
4. the files of the old generation are removed.

A run that ends in between is completed by the next one. What a driver does that has lost its lease fails at the store;
see `augment.ledger.staging` and `augment.dataset.generation`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from augment.dataset.card import dataset_card
from augment.dataset.generation import (
    free_generation,
    index_of,
    inputs_of,
    left_over,
    published_files,
    read_manifest,
    remove_others,
)
from augment.dataset.parts import scan_parts
from augment.dataset.processes import Processes, process_count
from augment.dataset.shards import DatasetBuilder, Judge, ShardLimits, json_bytes
from augment.errors import OutputError
from augment.ledger.ledger import Ledger
from augment.ledger.plan import Plan
from augment.storage.store import Store
from augment.types import UnitReport

CARD, INDEX = "README.md", "index.parquet"
_HASHED_AT_ONCE = 4  # files


@dataclass(frozen=True)
class Derived:
    """Files that others make from a published dataset.

    Attributes:
        names: of files that are to be there.
        make: the function from a manifest to the content of these, and perhaps of others, by name.
    """

    names: tuple[str, ...] = ()
    make: Callable[[Mapping[str, Any]], Mapping[str, bytes]] = lambda manifest: {}


@dataclass(frozen=True)
class Published:
    """What `publish` has made, or found already made.

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
    derived: Derived = Derived(),
    check_hashes: bool = False,
    processes: int | None = None,
    done: Mapping[str, UnitReport] | None = None,
) -> Published:
    """Publish the dataset of a folder whose units are all committed; call it under the ledger's lock.

    Commits and parts stay as they are.

    Args:
        judge: the function from an edit's scores, by name, to its verdict.
        judge_settings: what `judge` depends on, as JSON; another value publishes anew.
        derived: files that others make from the dataset; made anew with it.
        check_hashes: also publish anew if a published file has other bytes than its sha256 says; reads all of them.
        processes: that share the work; as many as there are cores, if there is much of it. The bytes are the same.
        done: the reports of all units that are done, by id; read from the folder if not given.

    Raises:
        OutputError: if there is no plan, units are not done, a part is missing or damaged, or another driver has taken
            over.
    """
    plan = ledger.read_plan()
    if plan is None:
        raise OutputError(f"{ledger.store} has no plan/plan.json: it is no output folder of `augment expand`.")
    done = ledger.finished() if done is None else done
    ordered = [done[unit_id] for unit_id in plan.unit_ids if unit_id in done]
    if missing := plan.units - len(ordered):
        raise OutputError(
            f"{ledger.store}: {missing} of {plan.units} units are not done. Run `augment expand` to go on."
        )
    inputs = inputs_of(plan, ordered, judge_settings, limits.model_dump())
    store, staging = ledger.store, ledger.staging
    store.sweep(ledger.confirm_lock)
    manifest, changed = read_manifest(store), False
    if manifest is None or manifest.get("inputs") != inputs or not _is_whole(store, manifest, check_hashes):
        staging.clear()
        count = processes or process_count(sum(store.list("parts").values()))
        data = json_bytes(_built(ledger, plan, ordered, judge, dict(judge_settings), limits, inputs, count))
        manifest, changed = json.loads(data), True  # in the order of the file, as whoever goes on from here reads it
        staging.write("manifest.json", data)  # may raise, so before anything is in place
        staging.put_in_place(manifest["files"])
        staging.put_in_place(["manifest.json"])
    others = left_over(store, manifest)
    if changed or others or not _has_derived(store, manifest, derived, check_hashes):
        _put_derived(ledger, manifest, derived)
        changed = True
    remove_others(store, staging, ledger.fencing_token, others)
    if changed:
        staging.clear()
    return Published(changed, manifest)


def _built(
    ledger: Ledger,
    plan: Plan,
    ordered: list[UnitReport],
    judge: Judge,
    judge_settings: dict[str, Any],
    limits: ShardLimits,
    inputs: str,
    processes: int,
) -> dict[str, Any]:
    """Build and stage the files of a dataset, and return its manifest."""
    generation = free_generation(ledger.store, inputs)
    with ledger.store.scratch() as scratch, Processes(processes) as shared:
        builder = DatasetBuilder(ledger.staging, shared, scratch, generation, limits)
        for scan, part in scan_parts(ledger, ordered, shared, scratch):
            builder.add(scan, part, judge)
        manifest = builder.close(plan, ordered, judge_settings, inputs)
    if manifest["planned"] != plan.planned:
        raise OutputError(
            f"{ledger.store}: the plan wants {plan.planned} edits, the parts account for {manifest['planned']}. "
            "Delete commits/ and run `augment expand` again."
        )
    return manifest


def _is_whole(store: Store, manifest: Mapping[str, Any], check_hashes: bool) -> bool:
    """Return whether every published file is there with its size (and its hash)."""
    files: Mapping[str, Any] = manifest["files"]
    present = published_files(store)
    if any(present.get(name) != entry["bytes"] for name, entry in files.items()):
        return False
    if not check_hashes:
        return True
    with ThreadPoolExecutor(_HASHED_AT_ONCE) as pool:
        hashes = pool.map(store.sha256, files)
        return all(sha256 == entry["sha256"] for sha256, entry in zip(hashes, files.values(), strict=True))


def _has_derived(store: Store, manifest: Mapping[str, Any], derived: Derived, check_hashes: bool) -> bool:
    """Return whether the files that are found under one name are there, and the index is the published one."""
    present, index = store.list(), manifest["files"][index_of(manifest)]
    if not {CARD, *derived.names} <= present.keys() or present.get(INDEX) != index["bytes"]:
        return False
    if not check_hashes:
        return True
    return store.sha256(INDEX) == index["sha256"] and store.read(CARD) == dataset_card(manifest).encode()


def _put_derived(ledger: Ledger, manifest: Mapping[str, Any], derived: Derived) -> None:
    """Put the files in place that are found under one name, whatever the generation."""
    store, staging = ledger.store, ledger.staging
    files = {CARD: dataset_card(manifest).encode(), **derived.make(manifest)}
    for name, data in files.items():
        staging.write(name, data)
    with store.scratch() as scratch:
        store.download(index_of(manifest), scratch / INDEX)
        staging.put(scratch / INDEX, INDEX)
    staging.put_in_place([*files, INDEX])
