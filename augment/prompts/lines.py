"""A text file of prompts: one in each line, for every class, or for the class in the heading above it.

# what follows a sharp at the beginning of a line is a comment
a photo of {a_class} in a forest
[fox]
a red fox in deep snow
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Mapping

from augment.errors import ConfigError
from augment.prompts.grid import FOR_ALL
from augment.prompts.templates import CLASS_FIELDS, fields_of
from augment.prompts.words import word_key

_HEADING = re.compile(r"\[([^\[\]]+)\]")
_SHOWN = 10


def parse_lines(text: str, name: str) -> dict[str, tuple[str, ...]]:
    """Return class -> its prompts, those for every class under `FOR_ALL`, in the order of the file.

    Args:
        text: content of the file.
        name: what messages call it.

    Raises:
        ConfigError: with the first of the lines that cannot be prompts, or if there is none.
    """
    problems: list[str] = []
    found: dict[str, list[str]] = {}
    heading = FOR_ALL
    for number, line in enumerate(text.removeprefix("\ufeff").splitlines(), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        if match := _HEADING.fullmatch(line):
            heading = match.group(1).strip()
        elif problem := line_problem(line):
            problems.append(f"{name}:{number}: {problem}")
        else:
            found.setdefault(heading, []).append(line)
    if not found and not problems:
        problems.append(f"{name}: has no prompt; write one in each line")
    if problems:
        more = [f"... and {len(problems) - _SHOWN} more"] if len(problems) > _SHOWN else []
        raise ConfigError(name, [*problems[:_SHOWN], *more])
    return {heading: tuple(lines) for heading, lines in found.items()}


def line_problem(line: str) -> str:
    """Return why a line cannot be a prompt of any class, or ""."""
    try:
        unknown = [field for field in fields_of(line) if field not in CLASS_FIELDS]
    except ValueError as error:
        return str(error)
    fields = " and ".join(f"{{{field}}}" for field in CLASS_FIELDS)
    return f"{line!r} has an unknown field {unknown[0]!r}: lines have no attributes, only {fields}" if unknown else ""


def unknown_headings(lines: Mapping[str, Collection[str]], class_names: Collection[str]) -> list[str]:
    """Return a text for each heading that is no class of the dataset: probably misspelt."""
    texts = []
    known = set(map(word_key, class_names))
    for heading in sorted(heading for heading in set(lines) - {FOR_ALL} if word_key(heading) not in known):
        near = difflib.get_close_matches(heading, class_names, 1)
        meant = f"; did you mean {near[0]!r}?" if near else "."
        texts.append(f"lines: [{heading}] is no class of the dataset{meant} Classes are {_some(class_names)}")
    return texts


def _some(class_names: Collection[str]) -> str:
    return ", ".join(sorted(class_names)[:10]) + (", ..." if len(class_names) > 10 else "")
