"""What the pictures of a dataset look like on the whole, from a few of them: sizes, colours, borders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from augment.errors import ImageError, InputError
from augment.inputs.fit import Fit, Size
from augment.inputs.headers import picture_size
from augment.inputs.images import decode_image
from augment.inputs.locate import is_url
from augment.inputs.readers import read_bytes
from augment.seeding import spread
from augment.types import Source

SIZES_READ, LOOKED_AT = 200, 24  # pictures: headers, and pixels; a second or two
MAX_BYTES = 16 * 2**20  # larger files are not decoded
_SIDE = 64  # pixels to which they are scaled
_GREY = 12  # of 255: difference of a pixel's largest and smallest channel that the eye takes for none
_WHITE, _PLAIN = 225, 12  # of 255: mean, and deviation, of a border that is paper or a studio's ground
_FEW, _COVERED = 4, 0.85  # colours, of 16 levels a channel, that cover so much of a drawing


@dataclass(frozen=True)
class Appearance:
    """What some pictures look like.

    Attributes:
        sizes: width and height of those whose headers were read, sorted by area.
        looked_at: number of those that were decoded.
        grey, plain_border, flat: share of these, 0 to 1, that are grey, that stand on white, that have few colours.
    """

    sizes: tuple[Size, ...] = ()
    looked_at: int = 0
    grey: float = 0.0
    plain_border: float = 0.0
    flat: float = 0.0

    @property
    def median_size(self) -> Size | None:
        """Return width and height of the picture in the middle; None if none was read."""
        return self.sizes[len(self.sizes) // 2] if self.sizes else None


def appearance_of(sources: Sequence[Source]) -> Appearance:
    """Look at a few local pictures, evenly spread. What cannot be decoded is an error row of the run."""
    local = [s for s in sources if not is_url(s.locator)]
    sizes = [size for s in spread(local, SIZES_READ, "sizes") if (size := picture_size(s)) is not None]
    found = []
    for source in spread([s for s in local if 0 < s.size <= MAX_BYTES], LOOKED_AT, "appearance"):
        try:
            found.append(np.asarray(decode_image(read_bytes(source), Fit("stretch", _SIDE))).astype(int))
        except (ImageError, InputError):
            continue
    return Appearance(
        tuple(sorted(sizes, key=lambda size: (size[0] * size[1], size))),
        len(found),
        _share([_is_grey(pixels) for pixels in found]),
        _share([_has_plain_border(pixels) for pixels in found]),
        _share([_is_flat(pixels) for pixels in found]),
    )


def _share(answers: Sequence[bool]) -> float:
    return sum(answers) / len(answers) if answers else 0.0


def _is_grey(pixels: np.ndarray) -> bool:
    return bool(np.mean(np.ptp(pixels, axis=2) <= _GREY) > 0.98)


def _has_plain_border(pixels: np.ndarray) -> bool:
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    return bool(border.mean() >= _WHITE and border.std() <= _PLAIN)


def _is_flat(pixels: np.ndarray) -> bool:
    counts = np.unique((pixels // 16).reshape(-1, 3), axis=0, return_counts=True)[1]
    return bool(np.sort(counts)[-_FEW:].sum() >= _COVERED * counts.sum() and len(counts) > 1)
