"""Pictures that are one picture: the same after another encoding, another size or a little brightness.

A 64-bit difference hash finds candidates among very many pictures, and what it finds is confirmed by looking at small
versions of both: pictures of one kind (a logo, an X-ray, a rendered scene) often share a hash and are no duplicates.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import UInt8
from PIL import Image

MAX_BITS = 10  # of 64 by which the hashes of two versions of a picture may differ
MAX_DIFFERENCE = 6.0  # of 256 levels: mean absolute difference of two small versions
# Lowest correlation of small versions of one picture: JPEG of quality 60, at 64 pixels, has 0.991 and 0.926; of small
# things on white that differ by as few levels the highest are 0.987 and 0.985.
MIN_CORRELATION = 0.99  # of brightness
MIN_COLOUR_CORRELATION = 0.9  # of red, green and blue together
MAX_NOISE = 1.5  # levels, root mean square: what encodings differ by where a picture shows nearly nothing
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
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


def small_version(picture: Image.Image) -> UInt8[np.ndarray, "32 32 3"]:
    """Return a picture squeezed to 32 x 32 pixels, RGB: what `looks_like` compares."""
    return np.asarray(picture.convert("RGB").resize((_SMALL, _SMALL), Image.Resampling.BOX))


def looks_like(small: UInt8[np.ndarray, "32 32 3"], other: UInt8[np.ndarray, "32 32 3"]) -> bool:
    """Return whether two pictures are one to the eye: as small versions they differ by few levels, and in no part.

    Few levels alone are not enough: small things on one background, as products are often taken, differ in a small part
    of the picture only. So what differs must also be small beside what the pictures show, above all in brightness:
    encodings change colours more, of which JPEG keeps half the resolution.
    """
    a, b = small.astype(np.float32), other.astype(np.float32)
    if float(np.abs(a - b).mean()) > MAX_DIFFERENCE:
        return False
    bright = (a @ _LUMA, b @ _LUMA)
    return _correlate(*bright, MIN_CORRELATION) and _correlate(a, b, MIN_COLOUR_CORRELATION)


def _correlate(a: np.ndarray, b: np.ndarray, least: float) -> bool:
    """Return whether two pictures correlate, or differ by no more than encodings do where they show nearly nothing."""
    a, b = (x - x.mean(axis=(0, 1)) for x in (a, b))  # a little brighter or warmer is no other picture
    noise, shown = float(np.square(a - b).mean()), float(np.sqrt(np.square(a).mean() * np.square(b).mean()))
    return noise <= MAX_NOISE**2 or noise <= 2 * (1 - least) * shown  # of equal variances: correlation >= least
