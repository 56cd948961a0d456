"""Seeds from names, never from positions: the same image and prompt get the same noise in any batch, on any worker."""

from __future__ import annotations

import hashlib


def seed_for(*parts: object) -> int:
    """A 63-bit seed that depends on every part and on their order.

    Parts are joined with a separator that cannot occur in them after `repr`, so ("a", "bc") differs from ("ab", "c").
    """
    digest = hashlib.sha256("\x1f".join(repr(p) for p in parts).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
