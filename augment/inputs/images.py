"""From the bytes of an image file to plain RGB pixels and back."""

from __future__ import annotations

import io
import re
import warnings

import numpy as np
from PIL import ExifTags, Image

from augment.errors import ImageError
from augment.inputs.fit import Fit, Size

# Named, so that no file can reach Pillow's other plugins: some of them start programs (EPS calls Ghostscript).
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP", "PPM")  # MPO files open as the JPEG that they begin with
IMAGE_EXTENSIONS = ("png", "jpg", "jpeg", "webp", "gif", "tif", "tiff", "bmp", "ppm", "pgm")
MAX_PIXELS = 89_478_485  # a quarter of a gigabyte once decoded; Pillow's own limit for "decompression bombs"

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
_SWAP_SIDES = {_OPERATIONS[orientation] for orientation in (5, 6, 7, 8)}


def decode_image(data: bytes, fit: Fit | int | None = None) -> Image.Image:
    """Decode an image file to 8-bit RGB; every other mode is converted by the rules below.

    The EXIF orientation is applied; transparency is laid over white; 16-bit and floating-point grey are scaled to
    8 bits; palettes and CMYK are converted, that of JPEG files read as Adobe writes it, inverted; of an animation the
    first frame is taken. Colour profiles are ignored, and so is metadata that cannot be read.

    Args:
        data: the file's content.
        fit: how it is fitted to a size; a number is the side in pixels of a square with the fit `crop`; None leaves the
            image's own size. With the fit `pad` the image comes without the padding.

    Raises:
        ImageError: for zero bytes, a truncated or damaged file, another kind of file, or more than `MAX_PIXELS`.
    """
    if not data:
        raise ImageError("the file has zero bytes")
    silence_pillow()
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as file:
            if file.width * file.height > MAX_PIXELS:
                raise ImageError(f"{file.width}x{file.height} pixels are more than the {MAX_PIXELS} allowed")
            file.load()
            image = _to_rgb(_upright(file))
    except ImageError:
        raise
    except Image.UnidentifiedImageError:
        kinds = f"not an image, or not one of {', '.join(FORMATS)}"
        raise ImageError(f"{kinds}, or damaged at its beginning, {data[:12]!r}") from None
    except Image.DecompressionBombError:
        raise ImageError(f"more than the {MAX_PIXELS} pixels allowed") from None
    except Exception as error:  # damaged files make Pillow's decoders raise a dozen different types
        raise ImageError(f"damaged image: {' '.join(str(error).split()) or type(error).__name__}") from error
    if isinstance(fit, int):
        fit = Fit("crop", fit)
    return image if fit is None else fit.apply(image, image.size)


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


def _upright(image: Image.Image) -> Image.Image:
    operation = _operation(image)
    return image if operation is None else image.transpose(operation)


def _operation(image: Image.Image) -> Image.Transpose | None:
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # damaged EXIF makes Pillow raise many types
        return None
    return _OPERATIONS.get(orientation) if isinstance(orientation, int) else None


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        return _scale_grey(np.asarray(image), image.info.get("transparency")).convert("RGB")
    if image.mode == "LAB":
        raise ImageError("CIELAB colours are not read; convert it to RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


def _scale_grey(values: np.ndarray, transparent: int | None) -> Image.Image:
    """Convert grey of more than 8 bits to 8 bits.

    Pillow's own conversion cuts off at 255: nearly all of a 16-bit image becomes white.
    """
    low, high = float(values.min()), float(values.max())
    whole = 255.0 if values.dtype.itemsize > 2 and high <= 255 else 65535.0
    limit = 1.0 if values.dtype.kind == "f" else whole
    if not (low >= 0 and high <= limit):  # written so that NaN fails too
        raise ImageError(f"{values.dtype} pixels from {low:g} to {high:g}, expected 0 to {limit:g}")
    scaled = (values.astype(np.float32) * np.float32(255.0 / limit) + np.float32(0.5)).astype(np.uint8)
    if transparent is not None:
        scaled[values == transparent] = 255
    return Image.fromarray(scaled)


def encode_png(array: np.ndarray, *, optimize: bool = False) -> bytes:
    """Encode uint8 pixels [H, W, 3] as PNG without metadata: same pixels, same bytes.

    `optimize` makes the file a few per cent smaller and takes several times as long.
    """
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3:
        raise ValueError(f"expected uint8 [H, W, 3], got {array.dtype} {list(array.shape)}")
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG", optimize=optimize)
    return buffer.getvalue()
