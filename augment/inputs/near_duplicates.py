"""Pictures that are one picture: the same after another encoding, another size or a little brightness.

A 64-bit difference hash finds candidates among very many pictures, and what it finds is confirmed by looking at small
versions of both: pictures of one kind (a logo, an X-ray, a rendered scene) often share a hash and are no duplicates.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image

MAX_BITS = 10  # of 64 by which the hashes of two versions of a picture may differ
MAX_DIFFERENCE = 6.0  # of 256 levels: mean absolute difference of two small versions
_SIDE = 8
_SMALL = 32  # side in pixels of the versions that are compared
_AT_ONCE = 2**22  # pairs of hashes compared at once


def difference_hash(picture: Image.Image) -> int:
    """Return a hash of 64 bits: whether each of 8 x 8 cells is darker than its right neighbour (dHash, Krawetz 2013).

    Versions of a picture in another size, format or brightness have hashes that differ in few bits.
    """
    grey = picture.convert("L").resize((_SIDE + 1, _SIDE), Image.Resampling.BOX)
    values = np.asarray(grey, np.int16)
    bits = (values[:, 1:] > values[:, :-1]).ravel()
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def near_pairs(hashes: Sequence[int], others: Sequence[int], max_bits: int = MAX_BITS) -> Iterator[tuple[int, int]]:
    """Yield the places (in the one list, in the other) of hashes that differ in at most `max_bits` bits."""
    own, other = np.array(hashes, np.uint64), np.array(others, np.uint64)
    if not len(own) or not len(other):
        return
    rows = max(1, _AT_ONCE // len(other))
    for start in range(0, len(own), rows):
        bits = np.bitwise_count(own[start : start + rows, None] ^ other[None])
        for row, column in np.argwhere(bits <= max_bits):
            yield start + int(row), int(column)


def looks_like(picture: Image.Image, other: Image.Image) -> bool:
    """Return whether two RGB pictures are the same to the eye: squeezed to 32 x 32 pixels they differ by few levels."""
    a, b = (
        np.asarray(p.convert("RGB").resize((_SMALL, _SMALL), Image.Resampling.BOX), np.float32)
        for p in (picture, other)
    )
    return float(np.abs(a - b).mean()) <= MAX_DIFFERENCE
