"""How pictures of any aspect become pictures of a size that a model takes: `input.fit`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import Any, Literal

import numpy as np
from PIL import Image, ImageOps

FitName = Literal["crop", "pad", "stretch", "bucket"]
Size = tuple[int, int]  # width, height in pixels, as Pillow has them

MAX_ASPECT = 4  # of buckets: the widest in which SDXL was trained (Podell et al. 2023, appendix I)
LARGEST_STEP = 64  # what the UNets of Stable Diffusion halve evenly, and the step of SDXL's own buckets


@dataclass(frozen=True)
class Area:
    """A rectangle of a picture, in pixels."""

    left: int
    top: int
    width: int
    height: int

    def cut(self, images: Any) -> Any:
        """Return this part of images, a tensor or an array [..., H, W]."""
        return images[..., self.top : self.top + self.height, self.left : self.left + self.width]


@dataclass(frozen=True)
class Fit:
    """One of four ways to fit pictures to a model.

    - `crop`: the shorter side becomes `image_size`, and the centre is cut out.
    - `stretch`: both sides become `image_size`, whatever the aspect was.
    - `pad`: the longer side becomes `image_size`. The model sees a square, the rest of which continues the picture's
      border, and an edit is cut back to the picture's own area. Repeated border pixels are what the autoencoder and
      the inversion reproduce best: a bar of one colour, or a mirrored picture, costs the picture itself accuracy.
    - `bucket`: the nearest in aspect of some sizes of about `image_size`^2 pixels. What remains is cut off evenly.

    Attributes:
        name: which.
        image_size: in pixels.
    """

    name: FitName
    image_size: int

    @property
    def identity(self) -> int | str:
        """Return what the hash of an edit takes for the fit: of `crop`, once the only one, the size alone."""
        return self.image_size if self.name == "crop" else f"{self.name} {self.image_size}"

    @property
    def canvases(self) -> tuple[Size, ...]:
        """Return all sizes that the model may be given."""
        return buckets(self.image_size) if self.name == "bucket" else ((self.image_size, self.image_size),)

    @property
    def sizes_differ(self) -> bool:
        """Return whether pictures may differ in size once they are fitted."""
        return self.name in ("pad", "bucket")

    def size_of(self, width: int, height: int) -> Size:
        """Return the size that a picture gets; with `pad` without the padding."""
        if self.name == "bucket":
            return _nearest(Fraction(width, height), buckets(self.image_size))
        if self.name == "pad":
            longer = max(width, height)
            return _scaled(width, self.image_size, longer), _scaled(height, self.image_size, longer)
        return self.image_size, self.image_size

    def allows(self, width: int, height: int) -> bool:
        """Return whether fitted pictures can have this size."""
        return max(width, height) == self.image_size if self.name == "pad" else (width, height) in self.canvases

    def share_lost(self, width: int, height: int) -> float:
        """Return the share, 0 to 1, of a picture's area that is cut off."""
        if self.name in ("pad", "stretch"):
            return 0.0
        new_width, new_height = self.size_of(width, height)
        return float(1 - 1 / _ratio(Fraction(width, height), Fraction(new_width, new_height)))

    def apply(self, picture: Image.Image, size: Size) -> Image.Image:
        """Return a picture in the size that it gets; with `pad` without the padding.

        Args:
            picture: upright.
            size: its own, before it was decoded at a reduced scale, if it was.
        """
        new = self.size_of(*size)
        if picture.size == new:
            return picture
        if self.name in ("pad", "stretch"):
            return picture.resize(new, Image.Resampling.BICUBIC)
        return ImageOps.fit(picture, new, method=Image.Resampling.BICUBIC)

    def area(self, width: int, height: int) -> Area:
        """Return where a fitted picture of this size lies in what the model is given."""
        if self.name != "pad":
            return Area(0, 0, width, height)
        return Area((self.image_size - width) // 2, (self.image_size - height) // 2, width, height)

    def padded(self, pixels: np.ndarray) -> np.ndarray:
        """Return what the model is given for the pixels [H, W, 3] of a fitted picture."""
        if self.name != "pad":
            return pixels
        height, width = pixels.shape[:2]
        area, side = self.area(width, height), self.image_size
        rows = area.top, side - height - area.top
        columns = area.left, side - width - area.left
        return np.pad(pixels, (rows, columns, (0, 0)), mode="edge")


def fit_of(fingerprint: Mapping[str, Any]) -> Fit:
    """Return the fit of a plan's fingerprint, which does not name `crop`."""
    return Fit(fingerprint.get("input.fit", "crop"), fingerprint["input.image_size"])


@cache
def buckets(image_size: int) -> tuple[Size, ...]:
    """Return the sizes of `bucket`, from the square to the widest and the highest.

    They are all sizes whose sides are multiples of `bucket_step`, whose area differs from `image_size`^2 by no more
    than a strip of the step along a side, and whose longer side is at most `MAX_ASPECT` times the shorter: 27 for 512,
    51 for 1024.
    """
    step = bucket_step(image_size)
    sides = range(step, 2 * image_size + step, step)
    found = [
        (width, height)
        for width in sides
        for height in sides
        if abs(width * height - image_size**2) <= step * image_size
        and max(width, height) <= MAX_ASPECT * min(width, height)
    ]
    return tuple(sorted(found, key=lambda size: (max(size) / min(size), abs(size[0] * size[1] - image_size**2), size)))


def bucket_step(image_size: int) -> int:
    """Return what the sides of buckets are multiples of: the largest power of two in an eighth of the size, 64 at most.

    It is 64 from 512 pixels on.
    """
    return min(LARGEST_STEP, 1 << max(0, (image_size // 8).bit_length() - 1))


def _nearest(aspect: Fraction, sizes: tuple[Size, ...]) -> Size:
    """Return the size nearest in aspect; the earlier of two that are equally near. In fractions, so always the same."""
    return min(sizes, key=lambda size: _ratio(aspect, Fraction(*size)))


def _ratio(a: Fraction, b: Fraction) -> Fraction:
    """Return the quotient of two aspects, at least 1."""
    return max(a / b, b / a)


def _scaled(side: int, new: int, old: int) -> int:
    """Return a side, scaled as `old` is to become `new`, rounded, and at least 1."""
    return max(1, (2 * side * new + old) // (2 * old))
