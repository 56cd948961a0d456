"""Other values in a config that a person wrote: everything else in its text stays as it is, comments included."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from augment.config.load import inline_yaml, parse_mapping
from augment.errors import ConfigError


def with_values(text: str, name: str, section: str, values: Mapping[str, float]) -> str:
    """Return the text of a YAML file with other values in one of its sections.

    A value that is there is replaced where it stands, one that is not gets a line of its own at the head of the
    section, and a section that is not there is appended. Files that this one extends need no change: what stands in
    the file itself overrides them.

    Args:
        text: the file's content, its ends of lines as they are.
        name: what messages call the file.
        section: a key at the top of the file, with a mapping below it.
        values: key in that section -> number.

    Raises:
        ConfigError: if that would change anything else, as with flow style or anchors.
    """
    before = parse_mapping(text, name)
    held = before.get(section, {})
    if not isinstance(held, dict):
        raise _refusal(name, section, values, f"{section} is no mapping there")
    wanted = {key: value for key, value in values.items() if key not in held or held[key] != value}
    if not wanted:
        return text
    changed = _edited(text, name, section, wanted)
    # What an edit does to anchors, aliases, tags and the ends of documents is not foreseen here, but seen.
    try:
        after = parse_mapping(changed, name)
    except ConfigError:
        after = {}
    if after != {**before, section: {**held, **wanted}}:
        raise _refusal(name, section, wanted, "other values would change too, or the file would not be YAML any more")
    return changed


def _edited(text: str, name: str, section: str, wanted: Mapping[str, float]) -> str:
    """Return the text with the values replaced or inserted; the caller checks that nothing else has changed."""
    newline = "\r\n" if "\r\n" in text else "\n"
    root: Any = yaml.compose(text, yaml.SafeLoader)  # a mapping, as the caller has seen
    if root.flow_style:
        raise _refusal(name, section, wanted, "the file is in flow style, `{key: value}`")
    section_key, node = _entry(root, section)
    if node is None:
        lines = "".join(f"  {key}: {inline_yaml(value)}{newline}" for key, value in wanted.items())
        return text + ("" if text.endswith("\n") else newline) + f"{section}:{newline}{lines}"
    edits: list[tuple[int, int, str]] = []  # from, to, what stands there afterwards
    missing: dict[str, float] = {}
    for key, value in wanted.items():
        old = _entry(node, key)[1]
        if old is None:
            missing[key] = value
        else:
            edits.append((old.start_mark.index, old.end_mark.index, inline_yaml(value)))
    if missing and node.flow_style:
        raise _refusal(name, section, missing, f"{section} is in flow style, `{section}: {{key: value}}`")
    if missing:
        head = text.find("\n", section_key.end_mark.index) + 1  # below the line of `section:`
        indent = " " * node.value[0][0].start_mark.column
        lines = "".join(f"{indent}{key}: {inline_yaml(value)}{newline}" for key, value in missing.items())
        edits.append((head, head, lines))
    for start, end, new in sorted(edits, reverse=True):
        text = text[:start] + new + text[end:]
    return text


def _entry(mapping: yaml.MappingNode, name: str) -> tuple[Any, Any]:
    """Return the nodes of a key and of its value, or twice None."""
    return next(((key, value) for key, value in mapping.value if key.value == name), (None, None))


def _refusal(name: str, section: str, values: Mapping[str, float], why: str) -> ConfigError:
    lines = ", ".join(f"{section}.{key}: {inline_yaml(value)}" for key, value in values.items())
    return ConfigError(name, [f"cannot be edited safely: {why}. It is left as it is; write {lines} by hand"])
