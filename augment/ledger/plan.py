"""The plan of a run: the cut into units, and the fingerprint of all that must not change until they are done."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from augment.errors import OutputError
from augment.types import (
    PlannedSource,
    Source,
    Unit,
    Variant,
)

PLAN_FORMAT = 1


@dataclass(frozen=True)
class Plan:
    """Head of a plan.

    Attributes:
        fingerprint: dotted key -> value of everything that changes pixels or the cut into units.
        units: number of units.
        sources: number of images.
        planned: number of edits wanted.
        class_names: label -> class name.
    """

    fingerprint: dict[str, Any]
    units: int
    sources: int
    planned: int
    class_names: dict[int, str]

    @property
    def digest(self) -> str:
        """Return the hash of the fingerprint, which is the `config_hash` of every record."""
        return digest_of(self.fingerprint)


def digest_of(value: Any) -> str:
    """Return the first sixteen hexadecimal digits of the SHA-256 of a JSON value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def flatten(mapping: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested mappings as one mapping with dotted keys; a list is a value."""
    flat: dict[str, Any] = {}
    for key, value in mapping.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def fingerprint_difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Return a line for every key in which two fingerprints differ, compared as JSON: a tuple equals its list."""
    old, new = (json.loads(json.dumps(dict(fingerprint))) for fingerprint in (old, new))
    lines = []
    for key in sorted(old.keys() | new.keys()):
        before, after = (repr(f[key]) if key in f else "(absent)" for f in (old, new))
        if before != after:
            lines.append(f"{key}: {before} in the plan, {after} now")
    return lines


def sources_digest(sources: Iterable[Source]) -> str:
    """Return a hash of the inputs as listed: key, size, label, class, caption and attributes, but not the locator."""
    state = hashlib.sha256()
    for s in sources:
        row = [s.key, s.size, s.label, s.class_name, s.caption, s.attributes]
        state.update(json.dumps(row, sort_keys=True).encode() + b"\n")
    return state.hexdigest()[:16]


def cut_units(planned: Iterable[PlannedSource], unit_size: int) -> Iterator[Unit]:
    """Yield units of `unit_size` sources in the order given; the last one may have fewer."""
    block: list[PlannedSource] = []
    count = 0
    for source in planned:
        block.append(source)
        if len(block) == unit_size:
            yield Unit(f"u{count:06d}", tuple(block))
            block, count = [], count + 1
    if block:
        yield Unit(f"u{count:06d}", tuple(block))


def relocate(unit: Unit, locators: Mapping[str, str]) -> Unit:
    """Return the unit with new locators of its sources: the input folder may have moved since the plan was made.

    Args:
        locators: source key -> where the source lies now.
    """
    moved = tuple(
        dataclasses.replace(p, source=dataclasses.replace(p.source, locator=locators[p.source.key]))
        for p in unit.sources
    )
    return Unit(unit.unit_id, moved)


def plan_to_json(plan: Plan) -> bytes:
    """Return the content of `plan.json`."""
    head = {"format": PLAN_FORMAT, **dataclasses.asdict(plan)}
    return (json.dumps(head, indent=2, sort_keys=True) + "\n").encode()


def plan_from_json(head: dict[str, Any]) -> Plan:
    """Return the plan that the content of `plan.json` describes.

    Raises:
        OutputError: if it has another format than `PLAN_FORMAT`.
        KeyError, TypeError, AttributeError, ValueError: if it has another shape.
    """
    if head["format"] != PLAN_FORMAT:
        raise OutputError(
            f"has a plan of format {head['format']!r}; this version writes format {PLAN_FORMAT}. Choose another "
            "output.path."
        )
    class_names = {int(label): str(name) for label, name in head["class_names"].items()}  # JSON's keys are strings
    counts = {name: int(head[name]) for name in ("units", "sources", "planned")}
    return Plan(fingerprint=dict(head["fingerprint"]), class_names=class_names, **counts)


def unit_to_json(unit: Unit) -> str:
    """Return a unit's line of `plan/units-*.jsonl`."""
    return json.dumps(unit, default=_fields, sort_keys=True) + "\n"


def unit_from_json(row: dict[str, Any]) -> Unit:
    """Return the unit that a line of `plan/units-*.jsonl` describes.

    Raises:
        KeyError, TypeError, ValueError: if it has another shape.
    """
    sources = []
    for planned in row["sources"]:
        variants = tuple(Variant(**v) for v in planned["variants"])
        sources.append(PlannedSource(Source(**planned["source"]), planned["source_prompt"], variants))
    return Unit(row["unit_id"], tuple(sources))


def _fields(value: Any) -> dict[str, Any]:
    """Return the fields of a dataclass. (`dataclasses.asdict` copies deeply: a minute more for a million sources.)"""
    return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
