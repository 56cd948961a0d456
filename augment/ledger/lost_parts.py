"""Commits whose parts are gone: a published part that was lost, or an attempt of a worker that outlived its driver.

The next driver takes the part of such a worker for an orphan and removes it; if the worker commits just then, its
commit names a part that is gone. That is no loss: the unit is made again. A part of the published dataset is one, and
whoever has moved it away wants it back. The hash in the manifest tells the two apart.
"""

from __future__ import annotations

import json
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any

from augment.errors import OutputError
from augment.ledger.plan import digest_of
from augment.ledger.plan_files import unit_ids_of_plans
from augment.storage.store import Store
from augment.types import UnitReport

_MANIFEST = "manifest.json"
_NAMED = 3  # parts, in a message


def hash_of_inputs(
    format: int, plan: str, parts: Iterable[str], judge_settings: Mapping[str, Any], limits: Mapping[str, int]
) -> str:
    """Return the hash of all that a dataset is made from.

    Args:
        format: of its manifest.
        plan: its plan's digest.
        parts: SHA-256 of the parts, in the order of the plan.
        judge_settings: what the verdicts depend on, as JSON.
        limits: of the shards, by name.
    """
    return digest_of([format, plan, list(parts), dict(judge_settings), dict(limits)])


def with_parts(store: Store, reports: Mapping[str, UnitReport], parts: Container[str]) -> dict[str, UnitReport]:
    """Return the reports whose parts are there.

    Args:
        store: the output folder.
        reports: of all commits, by unit id.
        parts: names of the files in `parts/`.

    Raises:
        OutputError: if parts are missing, and it cannot be told that the published dataset has all of its.
    """
    done = {unit_id: report for unit_id, report in reports.items() if f"parts/{report.part}" in parts}
    lost = [report for unit_id, report in reports.items() if unit_id not in done]
    if not lost:
        return done
    published = store.exists(_MANIFEST)
    if published and not done:
        raise OutputError(
            f"{store} has {len(lost)} finished units and a published dataset, but no parts/: going on would make "
            "everything again. Restore parts/; if that is wanted, delete commits/ and manifest.json."
        )
    if published and not _has_published_parts(store, done):
        raise OutputError(_lost_parts(store, lost, len(done)))
    return done


def _has_published_parts(store: Store, done: Mapping[str, UnitReport]) -> bool:
    """Return whether one of the folder's plans has all its parts, and they are those that the manifest was made of."""
    try:
        manifest = json.loads(store.read(_MANIFEST))
        format, plan, inputs = (manifest[name] for name in ("format", "plan", "inputs"))
        made_by = dict(manifest["filters"]), dict(manifest["limits"])  # earlier releases did not say the limits
    except (ValueError, KeyError, TypeError):
        return False
    return any(
        inputs == hash_of_inputs(format, plan, [done[unit_id].sha256 for unit_id in unit_ids], *made_by)
        for unit_ids in unit_ids_of_plans(store)
        if done.keys() >= set(unit_ids)
    )


def _lost_parts(store: Store, lost: Sequence[UnitReport], done: int) -> str:
    more = f" and {len(lost) - _NAMED} more" if len(lost) > _NAMED else ""
    some = lost[:_NAMED]
    return (
        f"{store} has a published dataset, but {len(lost)} of {len(lost) + done} finished units have lost "
        f"their part: {', '.join(f'parts/{r.part}' for r in some)}{more}. Restore them. If these units are to be "
        f"made again instead, delete {', '.join(f'commits/{r.unit_id}.json' for r in some)}"
        f"{f'{more}, or manifest.json in place of all of them,' if more else ''} and run `augment expand` again."
    )
