"""What is to be done: the cut into units, and the fingerprint of all that must not change while it is being done."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from augment.types import (
    PlannedSource,
    Source,
    Unit,
    Variant,
)


@dataclass(frozen=True)
class Plan:
    """The head of a plan.

    Attributes:
        fingerprint: dotted key -> value of everything that changes pixels or the cut into units.
        units: number of units. sources, planned: number of images, and of edits wanted.
        class_names: label -> class name.
    """

    fingerprint: dict[str, Any]
    units: int
    sources: int
    planned: int
    class_names: dict[int, str]

    @property
    def digest(self) -> str:
        """Hash of the fingerprint; the `config_hash` of every record."""
        return digest_of(self.fingerprint)


def digest_of(value: Any) -> str:
    """Sixteen hexadecimal digits that depend on a JSON value only."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def flatten(mapping: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one mapping with dotted keys; lists stay values."""
    flat: dict[str, Any] = {}
    for key, value in mapping.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def fingerprint_difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """One line for every key in which two fingerprints differ, as JSON: a tuple is what its list is."""
    old, new = (json.loads(json.dumps(dict(fingerprint))) for fingerprint in (old, new))
    lines = []
    for key in sorted(old.keys() | new.keys()):
        before, after = (repr(f[key]) if key in f else "(absent)" for f in (old, new))
        if before != after:
            lines.append(f"{key}: {before} in the plan, {after} now")
    return lines


def sources_digest(sources: Iterable[Source]) -> str:
    """Hash of the inputs as listed: key, size, label, class, caption and attributes, but not where they lie."""
    state = hashlib.sha256()
    for s in sources:
        row = [s.key, s.size, s.label, s.class_name, s.caption, s.attributes]
        state.update(json.dumps(row, sort_keys=True).encode() + b"\n")
    return state.hexdigest()[:16]


def cut_units(planned: Iterable[PlannedSource], unit_size: int) -> Iterator[Unit]:
    """Units of `unit_size` sources in the order given, whoever will run them."""
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
    """The unit with its sources where they are now: a plan outlives a moved input folder."""
    moved = tuple(
        dataclasses.replace(p, source=dataclasses.replace(p.source, locator=locators[p.source.key]))
        for p in unit.sources
    )
    return Unit(unit.unit_id, moved)


def plan_from_json(head: dict[str, Any]) -> Plan:
    """The content of `plan.json`. Raises KeyError, TypeError, AttributeError or ValueError if it has another shape."""
    class_names = {int(label): str(name) for label, name in head["class_names"].items()}  # JSON's keys are strings
    counts = {name: int(head[name]) for name in ("units", "sources", "planned")}
    return Plan(fingerprint=dict(head["fingerprint"]), class_names=class_names, **counts)


def unit_from_json(row: dict[str, Any]) -> Unit:
    """A line of the units' files. Raises KeyError, TypeError or ValueError if it has another shape."""
    sources = []
    for planned in row["sources"]:
        variants = tuple(Variant(**v) for v in planned["variants"])
        sources.append(PlannedSource(Source(**planned["source"]), planned["source_prompt"], variants))
    return Unit(row["unit_id"], tuple(sources))
