"""A look at a few pictures before a run: whether they are nearly black, as 12 bits stored in 16 are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from augment.errors import ImageError, InputError
from augment.inputs.images import decode_image
from augment.inputs.locate import is_url
from augment.inputs.readers import read_bytes
from augment.types import Source

LOOKED_AT = 12  # pictures, a second or two
MAX_BYTES = 16 * 2**20  # larger files are not looked at
_SIDE = 64  # pixels to which they are scaled
_BLACK = 17  # of 255: 4095 of 65535 is 16


@dataclass(frozen=True)
class Darkness:
    """The pictures that show something in nearly black, and the number of pictures looked at."""

    dark: tuple[Source, ...]
    looked_at: int


def nearly_black(sources: Sequence[Source]) -> Darkness:
    """Decode `LOOKED_AT` of the local pictures, evenly spread. What cannot be decoded is an error row of the run."""
    local = [s for s in sources if not is_url(s.locator) and 0 < s.size <= MAX_BYTES]
    chosen = local[:: -(-len(local) // LOOKED_AT)] if local else []
    dark, count = [], 0
    for source in chosen:
        try:
            pixels = np.asarray(decode_image(read_bytes(source), _SIDE))
        except (ImageError, InputError):
            continue
        count += 1
        if pixels.max() <= _BLACK and np.ptp(pixels, axis=(0, 1)).any():  # one colour would be no photograph
            dark.append(source)
    return Darkness(tuple(dark), count)
