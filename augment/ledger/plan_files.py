"""The files of a plan in an output folder: the head, `plan/plan.json`, and the units, `plan/units-000000.jsonl`, ..."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from augment.errors import OutputError
from augment.ledger.in_flight import reset_suspects
from augment.ledger.plan import Plan, plan_from_json, plan_to_json, unit_from_json, unit_to_json
from augment.storage.store import Store
from augment.types import Unit

UNITS_PER_FILE = 1000
_HEAD, _UNITS = "plan/plan.json", "plan/units-"
_WRONG_SHAPE = (ValueError, KeyError, TypeError, AttributeError)  # what reading JSON of another shape raises


def read_plan(store: Store) -> Plan | None:
    """Return the plan of an output folder, or None if it has none yet.

    Raises:
        OutputError: if the plan cannot be read, or has another format.
    """
    try:
        data = store.read(_HEAD)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except Exception as error:  # object stores have errors of their own for missing buckets and credentials
        raise OutputError(
            f"{store.at(_HEAD)} could not be read ({type(error).__name__}: {error}). Look at its permissions; for a "
            "URL also at the network and the credentials."
        ) from error
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
    store: Store, fingerprint: Mapping[str, Any], units: Iterable[Unit], class_names: Mapping[int, str]
) -> Plan:
    """Write the units, then the head, which makes the plan valid; return the plan.

    A plan of which no unit is done is replaced.

    Args:
        store: the output folder.
        fingerprint: dotted key -> value of everything that changes pixels or the cut into units.
        units: the units in order; consumed one at a time.
        class_names: label -> class name.

    Raises:
        OutputError: if the folder holds results, which would be taken for results of this plan, or be replaced.
    """
    listed = store.list("plan")
    _refuse_results(store, has_plan=_HEAD in listed)
    store.remove([_HEAD])  # first: units without a head are no plan
    reset_suspects(store)  # they belong to the plan that is replaced
    store.remove(name for name in listed if name.startswith(_UNITS))
    lines: list[str] = []
    totals = {"units": 0, "sources": 0, "planned": 0}

    def flush() -> None:
        name = f"{_UNITS}{(totals['units'] - 1) // UNITS_PER_FILE:06d}.jsonl"
        store.write(name, "".join(lines).encode())
        lines.clear()

    for unit in units:
        lines.append(unit_to_json(unit))
        totals["units"] += 1
        totals["sources"] += len(unit.sources)
        totals["planned"] += unit.planned
        if len(lines) == UNITS_PER_FILE:
            flush()
    if lines:
        flush()
    # Through JSON once, so that the plan just made equals the plan read back (tuples become lists).
    plain = json.loads(json.dumps(dict(fingerprint)))
    plan = Plan(plain, class_names=dict(class_names), **totals)
    store.write(_HEAD, plan_to_json(plan))
    return plan


def read_units(store: Store) -> Iterator[Unit]:
    """Yield all planned units in plan order, with one file of them in memory at a time.

    Raises:
        OutputError: if a line is not readable.
    """
    for name in store.list("plan"):
        if not name.startswith(_UNITS):
            continue
        for number, line in enumerate(store.read(name).splitlines(), 1):
            try:
                unit = unit_from_json(json.loads(line))
            except _WRONG_SHAPE as error:
                raise OutputError(
                    f"{store.at(name)}: line {number} is not readable ({type(error).__name__}: {error}). Restore it, "
                    "or choose another output.path."
                ) from error
            yield unit


def _refuse_results(store: Store, has_plan: bool) -> None:
    """Raise OutputError if the folder holds commits or a published dataset."""
    whose = "of another plan than this job's" if has_plan else "but no plan"
    if store.list("commits"):
        raise OutputError(f"{store} has commits/, {whose}. Restore plan/, or choose another output.path.")
    held = [folder for folder in ("shards", "rejected") if store.list(folder)]
    if held := held + ["manifest.json"] * store.exists("manifest.json"):
        raise OutputError(
            f"{store} already has {', '.join(held)}, {whose}: this job would replace them. Choose another output.path."
        )
