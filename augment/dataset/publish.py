"""Committed parts -> the dataset: judge every edit, publish shards in plan order, account for everything planned.

Needs no GPU and no torch. Everything is built in `.finalize/`, one shard after the other, and moved into place at the
end, the manifest last: a folder whose `manifest.json` exists is whole. The bytes depend on the parts, the
thresholds and the shard limits.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from augment.dataset.parts import read_parts
from augment.dataset.shards import MANIFEST_FORMAT, STAGING, DatasetBuilder, Judge, ShardLimits, json_bytes, staged_name
from augment.errors import OutputError
from augment.ledger.ledger import Ledger
from augment.ledger.plan import digest_of
from augment.storage.store import Store

_MOVED_AT_ONCE = 32  # files moved between two checks of the lock


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
    derived: tuple[str, ...] = (),
    check_hashes: bool = False,
) -> Published:
    """Publish the dataset of a folder whose units are all committed; call it under the ledger's lock.

    Args:
        judge: the function from an edit's scores, by name, to its verdict.
        judge_settings: what `judge` depends on, as JSON; another value publishes anew.
        derived: names of files in the output that others make from the dataset, removed when it is published anew.
        check_hashes: also publish anew if a published file has other bytes than its sha256 says; reads all of them.

    Raises:
        OutputError: if there is no plan, units are not done, or a part is damaged.
    """
    plan = ledger.read_plan()
    if plan is None:
        raise OutputError(f"{ledger.store} has no plan/plan.json: it is no output folder of `augment expand`.")
    done = ledger.recover()  # again: a worker that outlived its driver may have written since
    ordered = [done[unit_id] for unit_id in plan.unit_ids if unit_id in done]
    if missing := plan.units - len(ordered):
        raise OutputError(
            f"{ledger.store}: {missing} of {plan.units} units are not done. Run `augment expand` to go on."
        )
    inputs = digest_of(
        [MANIFEST_FORMAT, plan.digest, [r.sha256 for r in ordered], dict(judge_settings), limits.model_dump()]
    )
    store = ledger.store
    published = read_manifest(store)
    if published is not None and published.get("inputs") == inputs and _is_whole(store, published, check_hashes):
        return Published(False, published)

    store.clear(STAGING)
    with store.scratch() as scratch:
        builder = DatasetBuilder(ledger, scratch, limits)
        for record, png in read_parts(ledger, ordered):
            builder.add(record, png, judge)
        manifest = builder.close(plan, ordered, dict(judge_settings), inputs)
    if manifest["planned"] != plan.planned:
        raise OutputError(
            f"{store}: the plan wants {plan.planned} edits, the parts account for {manifest['planned']}. "
            "Delete commits/ and run `augment expand` again."
        )
    _publish(ledger, manifest, derived)
    return Published(True, manifest)


def read_manifest(store: Store) -> dict[str, Any] | None:
    """Return the published manifest; None if there is none, or only a damaged one."""
    try:
        manifest = json.loads(store.read("manifest.json"))
        [(entry["sha256"], entry["bytes"]) for entry in manifest["files"].values()]
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return dict(manifest)


def _is_whole(store: Store, manifest: Mapping[str, Any], check_hashes: bool) -> bool:
    """Return whether every published file is there with its size (and its hash), and no other shard is."""
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


def _publish(ledger: Ledger, manifest: Mapping[str, Any], derived: tuple[str, ...]) -> None:
    """Move the staged files into place. Until the manifest is back, the folder counts as unpublished."""
    store, files = ledger.store, manifest["files"]
    data = json_bytes(manifest)  # may raise, so before anything is removed
    ledger.confirm_lock()
    store.remove(["manifest.json", *derived])
    names = sorted(files)
    for start in range(0, len(names), _MOVED_AT_ONCE):
        ledger.confirm_lock()
        store.move({staged_name(ledger, name): name for name in names[start : start + _MOVED_AT_ONCE]})
    ledger.confirm_lock()
    store.remove((store.list("shards") | store.list("rejected")).keys() - files.keys())
    store.write("manifest.json", data)
    store.clear(STAGING)
