"""What listing a dataset gives: its images, and how many files of which kind were left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from augment.types import Source

# Kinds of what is left out because of where it is; kinds of files are in `augment.inputs.formats`.
BROKEN_LINK, LOOP, LINKED_TWICE, NO_FILE = "broken link", "link that leads back up", "folder linked twice", "no file"
FOLDER, LINK, MORE_IMAGES, OTHER_SPLIT = "folder", "link", "further image of a sample", "row of another split"
NOT_LOOKED_AT, UNREADABLE, NOT_PUBLISHED = "not looked at", "not readable", "shard that manifest.json does not name"

_SHOWN = 5


@dataclass(frozen=True)
class Listing:
    """A dataset as listed.

    Attributes:
        sources: its images.
        left_out: kind -> number of the files (and folders, links, rows) that are not among them.
    """

    sources: list[Source]
    left_out: Mapping[str, int] = field(default_factory=dict)


def by_count(left_out: Mapping[str, int]) -> dict[str, int]:
    """Return the kinds that occur, the most frequent first."""
    return {kind: count for kind, count in sorted(left_out.items(), key=lambda item: (-item[1], item[0])) if count}


def left_out_text(left_out: Mapping[str, int]) -> str:
    """Return the counts as a person reads them: `3 text, 2 hidden`; "" if nothing was left out."""
    return ", ".join(f"{count} {kind}" for kind, count in by_count(left_out).items())


def some(names: Sequence[str]) -> str:
    """Return the first names as a person reads them, and how many there are if there are more."""
    return ", ".join(names[:_SHOWN]) + (f", ... ({len(names)} in all)" if len(names) > _SHOWN else "")
