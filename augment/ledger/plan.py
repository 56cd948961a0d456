"""The plan of a run: the cut into units, and the fingerprint of all that must not change until they are done."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from augment.errors import OutputError
from augment.seeding import place_in_order
from augment.types import (
    PlannedSource,
    Source,
    Unit,
    Variant,
)

PLAN_FORMAT = 2
# Keys of a fingerprint, or beginnings of them. Which edits are wanted: whatever changes here, the edits that are still
# wanted are the same. What scores depend on: another value gives the same edits other scores. All other keys change
# the pixels of every edit.
VERSIONS = "input.versions"  # tells plans apart, and is no part of what they want: see `Source.version`
_WANTED = ("input.count", "input.listing", "input.order", VERSIONS, "prompts.", "variants_per_image", "run.unit_size")
_SCORED = ("clip.", "input.classes", "input.class_names")
# Hashes, which tell nobody anything.
_DIGESTS = (
    "input.listing",
    "input.class_names",
    VERSIONS,
    "prompts.lines",
    "prompts.table",
    "class_words",
)  # hashes, which tell nobody anything
# On average the cut starts anew after so many full units. Fewer: one more source changes fewer units, and more units
# are short.
UNITS_BETWEEN_CUTS = 32
_OF_MASKS = ("mask", "mask_size")  # fields of a source

T = TypeVar("T")


@dataclass(frozen=True)
class Plan:
    """Head of a plan.

    Attributes:
        fingerprint: dotted key -> value of everything that changes pixels, scores or which edits are wanted.
        unit_ids: names of the units, in order.
        sources: number of images.
        planned: number of edits wanted.
        class_names: label -> class name.
    """

    fingerprint: dict[str, Any]
    unit_ids: tuple[str, ...]
    sources: int
    planned: int
    class_names: dict[int, str]

    @property
    def units(self) -> int:
        """Return the number of units."""
        return len(self.unit_ids)

    @property
    def settings(self) -> dict[str, Any]:
        """Return the fingerprint as far as it is the same whatever happened to the dataset before."""
        return {key: value for key, value in self.fingerprint.items() if key != VERSIONS}

    @property
    def digest(self) -> str:
        """Return the hash of the settings, by which a published dataset says which plan it is of."""
        return digest_of(self.settings)

    @property
    def config_hash(self) -> str:
        """Return the hash that every record carries; see `config_hash_of`."""
        return config_hash_of(self.fingerprint)

    @property
    def pixels_hash(self) -> str:
        """Return the hash that every report carries; see `pixels_hash_of`."""
        return pixels_hash_of(self.fingerprint)


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


def config_hash_of(fingerprint: Mapping[str, Any]) -> str:
    """Return the hash of the settings that an edit and its scores depend on; not of which edits are wanted."""
    return digest_of(edit_settings(fingerprint))


def pixels_hash_of(fingerprint: Mapping[str, Any]) -> str:
    """Return the hash of the settings that change the pixels of every edit."""
    return digest_of(pixel_settings(fingerprint))


def edit_settings(fingerprint: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a fingerprint that an edit and its scores depend on; see `config_hash_of`."""
    return {key: value for key, value in fingerprint.items() if not key.startswith(_WANTED)}


def pixel_settings(fingerprint: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a fingerprint that changes the pixels of every edit."""
    return {key: value for key, value in fingerprint.items() if not key.startswith(_WANTED + _SCORED)}


def fingerprint_difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Return a line for every key in which two fingerprints differ, compared as JSON, as their hashes are.

    So a tuple equals its list, and a mapping equals one with the same keys in another order, also inside a list.
    """
    old, new = (json.loads(json.dumps(dict(fingerprint), sort_keys=True)) for fingerprint in (old, new))
    lines = []
    for key in sorted(old.keys() | new.keys()):
        before, after = (repr(f[key]) if key in f else "(absent)" for f in (old, new))
        if before != after:
            changed = "not what it was in the plan" if key in _DIGESTS else f"{before} in the plan, {after} now"
            lines.append(f"{key}: {changed}")
    return lines


def sources_digest(sources: Iterable[Source]) -> str:
    """Return a hash of the inputs as listed: key, size, label, class, caption and attributes, but not the locator."""
    state = hashlib.sha256()
    for s in sources:
        state.update(json.dumps(_identity(s), sort_keys=True).encode() + b"\n")
    return state.hexdigest()[:16]


def in_plan_order(sources: Iterable[Source]) -> list[Source]:
    """Return the sources in the order of a plan, in which every unit, and so every shard, is a mixture of the classes.

    The order is that of `place_in_order`: it depends on the keys alone, and one more source moves no other.
    """
    return sorted(sources, key=lambda source: (place_in_order(source.key), source.key))


def cut(items: Iterable[T], unit_size: int, key: Callable[[T], str]) -> Iterator[tuple[T, ...]]:
    """Yield the items in the order given, in blocks of `unit_size`; some blocks have fewer.

    A block also ends at keys with a certain hash, one in `UNITS_BETWEEN_CUTS * unit_size` of them. So one item more or
    less changes only the blocks from its place to the next such key, and not all blocks behind it.

    Args:
        items: consumed as they are needed.
        unit_size: at most so many items in a block.
        key: the function from an item to the key of its source.
    """
    block: list[T] = []
    for item in items:
        block.append(item)
        if len(block) == unit_size or place_in_order(key(item)) % (UNITS_BETWEEN_CUTS * unit_size) == 0:
            yield tuple(block)
            block = []
    if block:
        yield tuple(block)


def cut_units(planned: Iterable[PlannedSource], unit_size: int) -> Iterator[Unit]:
    """Yield units of at most `unit_size` sources in the order given, as `cut` does; they are numbered from 0."""
    for number, block in enumerate(cut(planned, unit_size, lambda p: p.source.key)):
        yield Unit(f"u{number:06d}", block)


def named_by_content(units: Iterable[Unit], config_hash: str) -> Iterator[Unit]:
    """Yield the units under names that tell all that their edits and scores depend on.

    A unit that is in two plans has one name, so what is done of it under one is done under the other.

    Args:
        units: under any names.
        config_hash: of the settings; see `config_hash_of`.
    """
    for unit in units:
        state = hashlib.sha256(config_hash.encode())
        for p in unit.sources:
            variants = [[v.index, v.prompt, v.attributes] for v in p.variants]
            row = [*_identity(p.source), p.source_prompt, variants, *filter(None, [p.source.version])]
            state.update(json.dumps(row, sort_keys=True).encode() + b"\n")
        yield dataclasses.replace(unit, unit_id=f"u{state.hexdigest()[:16]}")


def _identity(source: Source) -> list[Any]:
    """Return what tells a source from others as far as a listing knows; not where it lies."""
    known = [source.key, source.size, source.label, source.class_name, source.caption, source.attributes]
    return [*known, f"mask of {source.mask_size} bytes"] if source.mask else known


def relocate(unit: Unit, locators: Mapping[str, str], masks: Mapping[str, str] | None = None) -> Unit:
    """Return the unit with new locators of its sources: the input folder may have moved since the plan was made.

    Args:
        locators: source key -> where the source lies now.
        masks: the same for the sources that have a mask.
    """

    def now(source: Source) -> Source:
        mask = (masks or {}).get(source.key, source.mask)
        return dataclasses.replace(source, locator=locators[source.key], mask=mask)

    return dataclasses.replace(unit, sources=tuple(dataclasses.replace(p, source=now(p.source)) for p in unit.sources))


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
    unit_ids = tuple(str(unit_id) for unit_id in head["unit_ids"])
    counts = {name: int(head[name]) for name in ("sources", "planned")}
    return Plan(fingerprint=dict(head["fingerprint"]), unit_ids=unit_ids, class_names=class_names, **counts)


def unit_to_json(unit: Unit) -> str:
    """Return a unit's line of `plan/units-*.jsonl`."""
    row = {"unit_id": unit.unit_id, "sources": unit.sources}
    return json.dumps(row, default=_fields, sort_keys=True) + "\n"


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
    """Return the fields of a dataclass, without those of a mask where there is none: older plans mean the same.

    (`dataclasses.asdict` copies deeply: a minute more for a million sources.)
    """
    found = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return {name: content for name, content in found.items() if content or name not in _OF_MASKS}
