"""The files of a plan in an output folder: the head, `plan/plan.json`, and the units, `plan/units-<plan>-000000.jsonl`.

When a dataset grows, the units of the new plan are written beside those of the old one, and the head is replaced in one
step. The old units stay until everything of the new plan is done: they tell which edits are there already.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from augment.errors import OutputError
from augment.ledger.in_flight import notes_of_suspects
from augment.ledger.plan import Plan, digest_of, plan_from_json, plan_to_json, unit_from_json, unit_to_json
from augment.ledger.staging import Staging
from augment.storage.store import Store
from augment.types import Unit

UNITS_PER_FILE = 1000
_HEAD, _UNITS = "plan/plan.json", "plan/units-"
# What a run writes to. The names in these folders are its own (a hash in each); those of these files may be anybody's.
_FOLDERS = ("commits", "shards", "rejected", "parts", "index")
_FILES = (
    "manifest.json",
    "README.md",
    "index.parquet",
    "contact_sheet.png",
    "report.html",
    "run/config.resolved.yaml",
    "run/env.json",
    "run/status.json",
    "run/contact_sheet_sources.tar",
)
_WRONG_SHAPE = (ValueError, KeyError, TypeError, AttributeError)  # what reading JSON of another shape raises


def read_plan(store: Store) -> Plan | None:
    """Return the plan of an output folder, or None if it has none yet.

    Raises:
        OutputError: if the plan cannot be read, or has another format.
    """
    data = store.read_if_there(_HEAD)
    if data is None:
        return None
    try:
        return plan_from_json(json.loads(data))
    except OutputError as error:
        raise OutputError(f"{store} {error}") from None
    except _WRONG_SHAPE as error:
        raise OutputError(
            f"{store.at(_HEAD)} is not readable ({type(error).__name__}: {error}). Restore it, or choose another "
            "output.path."
        ) from error


def write_plan(
    store: Store,
    staging: Staging,
    fingerprint: Mapping[str, Any],
    units: Iterable[Unit],
    class_names: Mapping[int, str],
) -> Plan:
    """Write the units, then the head, which makes the plan valid; return the plan.

    Another plan is replaced. Its units, and what is done of them, stay; see `files_of_other_plans`.

    Args:
        store: the output folder.
        staging: puts files in place there.
        fingerprint: dotted key -> value of everything that changes pixels, scores or which edits are wanted.
        units: the units in order; consumed one at a time.
        class_names: label -> class name.

    Raises:
        OutputError: if there is no plan yet, but files that the run would replace; or if the lease is lost.
    """
    if not store.exists(_HEAD):
        check_unplanned(store)
    # Through JSON once, so that the plan just made equals the plan read back (tuples become lists).
    plain = json.loads(json.dumps(dict(fingerprint)))
    prefix = _prefix(plain)
    names: list[str] = []
    lines: list[str] = []
    unit_ids: list[str] = []
    sources = planned = 0

    def flush() -> None:
        names.append(f"{prefix}{(len(unit_ids) - 1) // UNITS_PER_FILE:06d}.jsonl")
        staging.write(names[-1], "".join(lines).encode())
        lines.clear()

    for unit in units:
        lines.append(unit_to_json(unit))
        unit_ids.append(unit.unit_id)
        sources += len(unit.sources)
        planned += unit.planned
        if len(lines) == UNITS_PER_FILE:
            flush()
    if lines:
        flush()
    plan = Plan(plain, tuple(unit_ids), sources, planned, dict(class_names))
    staging.put_in_place(names)
    # Of a driver that was killed. Afterwards, because these units, if it was planning the same, have the same names.
    staging.remove(name for name in store.list("plan") if name.startswith(prefix) and name not in names)
    staging.remove(notes_of_suspects(store))  # they belong to the plan that is replaced
    staging.replace(_HEAD, plan_to_json(plan))
    return plan


def read_units(store: Store, plan: Plan | None = None) -> Iterator[Unit]:
    """Yield all units of a plan in its order, with one file of them in memory at a time.

    Args:
        plan: None for the units of all plans in the folder, those of plans that were replaced included.

    Raises:
        OutputError: if a line is not readable.
    """
    prefix = _UNITS if plan is None else _prefix(plan.fingerprint)
    for name in store.list("plan"):
        if name.startswith(prefix):
            yield from _units_in(store, name)


def unit_ids_of_plans(store: Store) -> Iterator[list[str]]:
    """Yield the names of the units of each plan in the folder, in its order: of the plan, and of those replaced.

    Raises:
        OutputError: if a line is not readable.
    """
    names = [name for name in store.list("plan") if name.startswith(_UNITS)]
    for _, of_plan in itertools.groupby(names, lambda name: name.rpartition("-")[0]):
        yield [unit.unit_id for name in of_plan for unit in _units_in(store, name)]


def _units_in(store: Store, name: str) -> Iterator[Unit]:
    for number, line in enumerate(store.read(name).splitlines(), 1):
        try:
            yield unit_from_json(json.loads(line))
        except _WRONG_SHAPE as error:
            raise OutputError(
                f"{store.at(name)}: line {number} is not readable ({type(error).__name__}: {error}). Restore it, "
                "or choose another output.path."
            ) from error


def files_of_other_plans(store: Store, plan: Plan) -> list[str]:
    """Return the names of the files with the units of all plans but one."""
    prefix = _prefix(plan.fingerprint)
    return [name for name in store.list("plan") if name.startswith(_UNITS) and not name.startswith(prefix)]


def _prefix(fingerprint: Mapping[str, Any]) -> str:
    return f"{_UNITS}{digest_of(fingerprint)}-"


def results_in(store: Store) -> list[str]:
    """Return the folders and files of an output folder in which a run without a plan would replace or remove files."""
    return [folder for folder in _FOLDERS if store.list(folder)] + [name for name in _FILES if store.exists(name)]


def check_unplanned(store: Store) -> None:
    """Check that a folder without a plan holds nothing that a run would replace or remove: it may be the user's own.

    Raises:
        OutputError: if it does.
    """
    held = results_in(store)
    if "commits" in held:
        raise OutputError(f"{store} has commits/, but no plan. Restore plan/, or choose another output.path.")
    if held:
        raise OutputError(
            f"{store} already has {', '.join(held)}, but no plan: this job would replace them. Choose another "
            "output.path, or move them away. (If an earlier run made them: restore its plan/ and commits/.)"
        )
