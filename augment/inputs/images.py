"""From the bytes of an image file to plain RGB pixels and back."""

from __future__ import annotations

import io
import re
import time
import warnings

import numpy as np
from PIL import ExifTags, Image

from augment.errors import ImageError
from augment.inputs.colour import ColourName, grey_of_eight_bits, is_deep, to_srgb
from augment.inputs.fit import Fit, Size
from augment.inputs.formats import FORMATS, image_format, unread_format

# Pillow's own limit for "decompression bombs". So many take 1 to 1.7 GB (WebP) and some seconds to decode.
MAX_PIXELS = 89_478_485
DECODE_SECONDS = 60.0  # for one picture
_BYTES_AT_ONCE = 4096  # that the decoder of a progressive JPEG file is given: they may be 40 passes over all pixels

# Of the side wanted: a JPEG file is decoded at a half, a quarter or an eighth of its size while that leaves so much.
_REDUCED_SIDE = 2
_PILLOW = re.compile(r"PIL\.")
# EXIF orientation -> the operation that turns the image upright; 1 needs none.
_OPERATIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SAY_ORIENTATION = ("exif", "Raw profile type exif", "XML:com.adobe.xmp", "xmp")  # metadata, as Pillow calls them
_SWAP_SIDES = {_OPERATIONS[orientation] for orientation in (5, 6, 7, 8)}


def decode_image(data: bytes, fit: Fit | int | None = None, *, colour: ColourName = "srgb") -> Image.Image:
    """Decode an image file to 8-bit RGB; every other mode is converted by the rules below.

    The format is known by the content, see `augment.inputs.formats`. The EXIF orientation is applied; transparency is
    laid over white; 16-bit and floating-point grey are scaled to 8 bits; palettes and CMYK are converted, that of JPEG
    files read as Adobe writes it, inverted; of an animation the first frame is taken. Metadata that cannot be read is
    ignored. A JPEG file much larger than the size wanted is decoded at a reduced scale, to at least twice
    that size.

    Args:
        data: the file's content.
        fit: how it is fitted to a size; a number is the side in pixels of a square with the fit `crop`; None leaves the
            image's own size. With the fit `pad` the image comes without the padding.
        colour: `srgb` converts colours from an embedded profile to sRGB, `ignore` takes the numbers as they are.

    Raises:
        ImageError: for zero bytes, a truncated or damaged file, another kind of file, more than `MAX_PIXELS`, or a file
            that is not decoded within `DECODE_SECONDS`.
    """
    if not data:
        raise ImageError("the file has zero bytes")
    if isinstance(fit, int):
        fit = Fit("crop", fit)
    format = image_format(data)
    if format is None:
        raise ImageError(_not_read(data))
    silence_pillow()
    try:
        # Only the plugin that the first bytes ask for.
        with Image.open(_Timed(data), formats=[format]) as file:
            if file.width * file.height > MAX_PIXELS:
                raise ImageError(f"{file.width}x{file.height} pixels are more than the {MAX_PIXELS} allowed")
            if file.info.get("progressive"):
                file.decodermaxblock = _BYTES_AT_ONCE
            size = upright_size(file)
            reduced = fit is not None and _reduce(file, fit.size_of(*size), size)
            file.load()
            image = _to_rgb(upright(file), file, data, colour)
    except ImageError:
        raise
    except Image.UnidentifiedImageError:
        raise ImageError(_not_read(data)) from None
    except Image.DecompressionBombError:
        raise ImageError(f"more than the {MAX_PIXELS} pixels allowed") from None
    except Exception as error:  # damaged files make Pillow's decoders raise a dozen different types
        raise ImageError(f"damaged image: {' '.join(str(error).split()) or type(error).__name__}") from error
    # What a file says behind its pixels, as PNG may say how to turn them, is known only now.
    return image if fit is None else fit.apply(image, size if reduced else image.size)


class _Timed(io.BytesIO):
    """Read the content of a file, and raise ImageError once the time to decode it is over.

    Pillow asks for a block at a time. What it decodes in one piece takes a time that `MAX_PIXELS` limits; but a
    progressive JPEG file may go over its pixels thousands of times.
    """

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._until = time.monotonic() + DECODE_SECONDS

    def read(self, size: int | None = -1, /) -> bytes:
        if time.monotonic() > self._until:
            raise ImageError(f"it takes longer to decode than the {DECODE_SECONDS:g} s allowed")
        return super().read(size)


def _not_read(data: bytes) -> str:
    if kind := unread_format(data):
        return f"not an image of a format that is read, but {kind}; convert it to PNG or JPEG"
    return f"not an image, or not one of {', '.join(FORMATS)}, or damaged at its beginning, {data[:12]!r}"


def _reduce(file: Image.Image, wanted: Size, size: Size) -> bool:
    """Let a JPEG file be decoded at a reduced scale, if that leaves each side `_REDUCED_SIDE` times the size wanted.

    Return whether it will be.

    Only by what divides both sides, as it does those of cameras: otherwise the picture would be stretched by a part of
    a pixel.

    Args:
        file: opened.
        wanted: width and height that the upright picture is to get.
        size: those that it has.
    """
    if file.format not in ("JPEG", "MPO"):
        return False
    for scale in (8, 4, 2):
        even = all(side % scale == 0 for side in size)
        if even and all(have // scale >= _REDUCED_SIDE * want for have, want in zip(size, wanted, strict=True)):
            file.draft(None, (file.width // scale, file.height // scale))
            return True
    return False


def silence_pillow() -> None:
    """Ignore Pillow's warnings in all threads and for good.

    They are about metadata, and about sizes that are checked here. To ignore them for a while only is not safe where
    several threads decode.
    """
    if not any(module == _PILLOW for _, _, _, module, _ in warnings.filters):
        warnings.filterwarnings("ignore", module=_PILLOW.pattern)


def upright_size(file: Image.Image) -> Size:
    """Return width and height of an open image file as they are once it is turned upright; its pixels are not read."""
    if file.format == "TIFF" or (file.format == "PNG" and "exif" not in file.info):
        return file.size  # upright already; or Pillow would decode the pixels, to look behind them
    operation = _operation(file)
    return file.size if operation is None or operation not in _SWAP_SIDES else (file.height, file.width)


def upright(image: Image.Image) -> Image.Image:
    """Return an image turned as its EXIF orientation says, which the turned one has no more; itself without one."""
    operation = _operation(image)
    if operation is None:
        return image
    turned = image.transpose(operation)
    for name in _SAY_ORIENTATION:
        turned.info.pop(name, None)
    return turned


def _operation(image: Image.Image) -> Image.Transpose | None:
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # damaged EXIF makes Pillow raise many types
        return None
    return _OPERATIONS.get(orientation) if isinstance(orientation, int) else None


def _to_rgb(image: Image.Image, file: Image.Image, data: bytes, colour: ColourName) -> Image.Image:
    """Return an upright image as RGB.

    Args:
        image: upright.
        file: as opened; what it says about its pixels is there.
        data: its content.
        colour: whether an embedded profile counts.
    """
    if is_deep(image):
        image = grey_of_eight_bits(file, np.asarray(image), data)
    elif image.mode == "LAB":
        raise ImageError("CIELAB colours are not read; convert it to RGB")
    elif image.has_transparency_data:
        image = image.convert("RGBA")
    elif image.mode not in ("L", "CMYK"):
        image = image.convert("RGB")
    if colour == "srgb":
        image = to_srgb(image, file.info.get("icc_profile"))
    if image.mode == "RGBA":
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


def encode_png(array: np.ndarray, *, optimize: bool = False) -> bytes:
    """Encode uint8 pixels [H, W, 3] as PNG without metadata: same pixels, same bytes.

    `optimize` makes the file a few per cent smaller and takes several times as long.
    """
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3:
        raise ValueError(f"expected uint8 [H, W, 3], got {array.dtype} {list(array.shape)}")
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG", optimize=optimize)
    return buffer.getvalue()
