"""The same picture in two classes: files of one size are compared by their bytes, up to a limit."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from augment.errors import InputError
from augment.inputs.locate import is_url
from augment.inputs.readers import read_bytes
from augment.types import Source

MAX_FILES, MAX_BYTES = 5_000, 512 * 2**20  # some seconds of reading


@dataclass(frozen=True)
class Comparison:
    """The result of a comparison.

    Attributes:
        same: groups of sources of several labels whose files are equal.
        compared, candidates: number of files that were read, and of those that could be equal to one of another label.
    """

    same: tuple[tuple[Source, ...], ...]
    compared: int
    candidates: int


def same_pictures(sources: Sequence[Source]) -> Comparison:
    """Compare the local files that have the size of a file of another label.

    Of remote files nothing is read. Where the candidates are more than the limits, small groups of one size go first.
    """
    first: dict[int, int] = {}
    shared = {s.size for s in sources if s.size > 0 and first.setdefault(s.size, s.label) != s.label}
    of_size: dict[int, list[Source]] = defaultdict(list)
    for source in sources:
        if source.size in shared and not is_url(source.locator):
            of_size[source.size].append(source)
    compared, total, same = 0, 0, []
    for size, group in sorted(of_size.items(), key=lambda item: (len(item[1]), item[0])):
        if compared + len(group) > MAX_FILES or total + size * len(group) > MAX_BYTES:
            continue
        compared, total = compared + len(group), total + size * len(group)
        same += _equal(group)
    return Comparison(tuple(same), compared, sum(map(len, of_size.values())))


def _equal(group: Sequence[Source]) -> list[tuple[Source, ...]]:
    """Return those of equal bytes that have several labels."""
    of_digest: dict[bytes, list[Source]] = defaultdict(list)
    for source in group:
        try:
            of_digest[hashlib.sha256(read_bytes(source)).digest()].append(source)
        except InputError:
            continue  # an error row of the run
    return [tuple(found) for found in of_digest.values() if len({s.label for s in found}) > 1]
