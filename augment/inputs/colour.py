"""Colours and grey values as files mean them -> 8-bit sRGB, which is what models are trained on.

A number in a file is a colour only together with the profile that is embedded in it: Display P3 (phones), Adobe RGB
(cameras), CMYK (prints). Pictures without a profile are taken for sRGB, as browsers do.
"""

from __future__ import annotations

import io
import struct
from functools import lru_cache
from typing import Literal

import numpy as np
from PIL import Image, ImageCms

from augment.errors import ImageError

ColourName = Literal["srgb", "ignore"]

_MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}  # of a profile -> of the pixels that it is for
_SAME = 2  # of 255: no profile for sRGB differs more from another, by rounding and its tables
_BITS_PER_SAMPLE, _PHOTOMETRIC, _MAX_SAMPLE_VALUE = 258, 262, 281  # tags of TIFF
_WHITE_IS_ZERO = 0  # a photometric interpretation; Pillow inverts 8 bits and fewer, and leaves deep grey as it is


def to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Return an image with its colours converted from an ICC profile to sRGB, as RGB, or as RGBA if it has alpha.

    It comes back unchanged without a profile, with one that is sRGB, is damaged, or is for other pixels. The conversion
    is relative colorimetric with black point compensation.

    Args:
        image: L, RGB, RGBA or CMYK.
        profile: as embedded in the file.
    """
    known = _transform(profile) if profile else None
    if known is None:
        return image
    mode, transform = known
    if (mode == "CMYK") != (image.mode == "CMYK") or (mode == "L" and not _is_grey(image)):
        return image
    converted = transform.apply(image.convert(mode))
    converted.info.clear()
    if image.mode == "RGBA":
        converted.putalpha(image.getchannel("A"))
    return converted


@lru_cache(maxsize=8)  # the pictures of a dataset share a few
def _transform(profile: bytes) -> tuple[str, ImageCms.ImageCmsTransform] | None:
    """Return the mode that a profile is for and the conversion; None if there is nothing to convert."""
    try:
        opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        mode = _MODES[opened.profile.xcolor_space.strip()]
        transform = ImageCms.buildTransform(
            opened,
            ImageCms.createProfile("sRGB"),
            mode,
            "RGB",
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
        if mode == "CMYK":
            return mode, transform
        cube = np.stack(np.meshgrid(*[np.arange(0, 256, 15, dtype=np.uint8)] * len(mode)), axis=-1)
        probe = Image.frombytes(mode, (cube.size // len(mode), 1), cube.tobytes())
        change = np.asarray(transform.apply(probe), int) - np.asarray(probe.convert("RGB"), int)
        return None if np.abs(change).max() <= _SAME else (mode, transform)
    except Exception:  # a damaged profile makes LittleCMS raise several types; without it the picture is still one
        return None


def _is_grey(image: Image.Image) -> bool:
    if image.mode == "L":
        return True
    red, green, blue = (np.asarray(image.getchannel(name)) for name in "RGB")
    return bool((red == green).all() and (green == blue).all())


def is_deep(image: Image.Image) -> bool:
    """Return whether an image is grey of more than 8 bits or floating-point."""
    return image.mode.startswith("I") or image.mode == "F"


def grey_of_eight_bits(file: Image.Image, values: np.ndarray, data: bytes) -> Image.Image:
    """Convert deep grey to 8 bits, white being what the file says.

    Pillow's own conversion cuts off at 255: nearly all of a 16-bit image becomes white.

    Args:
        file: as opened, for its tags.
        values: its pixels [H, W].
        data: the file's content.

    Raises:
        ImageError: if a value is beyond black or white.
    """
    low, high = float(values.min()), float(values.max())
    white = 1.0 if values.dtype.kind == "f" else _white(file, values, data)
    if not (low >= 0 and high <= white):  # written so that NaN fails too
        raise ImageError(f"{values.dtype} pixels from {low:g} to {high:g}, expected 0 to {white:g}")
    scaled = (values.astype(np.float32) * np.float32(255.0 / white) + np.float32(0.5)).astype(np.uint8)
    if file.format == "TIFF" and file.tag_v2.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:  # type: ignore[attr-defined]
        scaled = 255 - scaled
    if (transparent := file.info.get("transparency")) is not None:
        scaled[values == transparent] = 255
    return Image.fromarray(scaled)


def _white(file: Image.Image, values: np.ndarray, data: bytes) -> float:
    """Return the value of white: from the file's tags if its values keep to them, otherwise the largest of 16 bits."""
    high = int(values.max())
    if values.dtype.itemsize > 2 and high <= 255:
        return 255.0
    stated = 0
    if file.format == "TIFF":
        stated = _number(file, _MAX_SAMPLE_VALUE) or 2 ** min(16, _number(file, _BITS_PER_SAMPLE)) - 1
    elif bits := _significant_bits(data) if file.format == "PNG" else 0:
        # PNG wants values scaled up to 16 bits: then the bits below the significant ones are 0 or repeat the highest.
        # A file with small values only, and others below, was not scaled.
        stated = 2**bits - 1 if (values & (2 ** (16 - bits) - 1)).any() else 0
    return float(stated) if 255 < stated < 65535 and high <= stated else 65535.0


def _number(file: Image.Image, tag: int) -> int:
    """Return the first number of a tag of a TIFF file; 0 if there is none."""
    value = file.tag_v2.get(tag)  # type: ignore[attr-defined]
    value = value[0] if isinstance(value, tuple) and value else value
    return value if isinstance(value, int) else 0


def _significant_bits(png: bytes) -> int:
    """Return the bits that the chunk sBIT of a PNG states, 1 to 15; 0 if there is none, or all 16 are significant."""
    at = 8
    while at + 8 <= len(png):
        length, kind = struct.unpack(">I4s", png[at : at + 8])
        if kind == b"sBIT" and length >= 1:
            return png[at + 8] if 0 < png[at + 8] < 16 else 0
        if kind == b"IDAT":
            break
        at += 12 + length
    return 0
