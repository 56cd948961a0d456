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


def place_in_order(key: str) -> int:
    """Return the place, 0..2^63 - 1, of a source in the order of a plan: a hash of its key and nothing else.

    Sources sorted by it are mixed whatever order their dataset has, another source moves none of them, and the first n
    are a random sample. The run's seed is no part of it: another seed draws other prompts, not another order.
    """
    return seed_for("order", key)


def spread(items: Sequence[T], count: int, name: str) -> list[T]:
    """A sample of at most `count` items, one from each of as many equal portions; `name` makes samples differ.

    The place in the portion is a hash: datasets often come in a regular order, with which a fixed stride would beat.
    """
    count = min(count, len(items))
    edges = [len(items) * i // count for i in range(count + 1)] if count else []
    return [items[a + seed_for(name, a, b) % (b - a)] for a, b in itertools.pairwise(edges)]
