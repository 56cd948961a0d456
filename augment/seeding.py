"""Seeds from names, never from positions: the same image and prompt get the same noise in any batch, on any worker."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def seed_for(*parts: object) -> int:
    """A 63-bit seed that depends on every part and on their order.

    Parts are joined with a separator that cannot occur in them after `repr`, so ("a", "bc") differs from ("ab", "c").
    """
    digest = hashlib.sha256("\x1f".join(repr(p) for p in parts).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def spread(items: Sequence[T], count: int, name: str) -> list[T]:
    """A sample of at most `count` items, one from each of as many equal portions; `name` makes samples differ.

    The place in the portion is a hash: datasets often come in a regular order, with which a fixed stride would beat.
    """
    count = min(count, len(items))
    edges = [len(items) * i // count for i in range(count + 1)] if count else []
    return [items[a + seed_for(name, a, b) % (b - a)] for a, b in itertools.pairwise(edges)]
