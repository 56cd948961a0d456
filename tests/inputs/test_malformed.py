"""What must not decode gives one line with the reason; what is odd but well gives exactly its pixels."""

from __future__ import annotations

import io
import re
import struct
import time
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from augment.errors import ImageError
from augment.inputs.images import decode_image
from tests.malformed import (
    NOISE,
    Malformed,
    bmp,
    encoded,
    malformed,
    malformed_inputs,
    png,
    png_chunk,
    tiff,
    tiff_data_at,
    without_segments,
)
from tests.peak_memory import peak_bytes, reset_peak

PIXELS = np.asarray(NOISE)
GREY = np.asarray(NOISE.convert("L"))
ALPHA = Image.fromarray(PIXELS[..., 0])
ORIENTATION = 0x0112
STORED_AS = {  # orientation -> how the file holds what it wants shown
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a, -1),
}


@contextmanager
def all_warnings() -> Iterator[list[warnings.WarningMessage]]:
    """Record warnings, but for those of files and sockets that other tests left to the garbage collector."""
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        warnings.simplefilter("ignore", ResourceWarning)
        yield warned


def test_there_are_enough_of_them_under_names_of_their_own() -> None:
    assert len(malformed_inputs()) == len(malformed()) >= 40


@pytest.mark.parametrize("bad", malformed(), ids=lambda bad: bad.name)
def test_what_is_no_usable_image_gives_one_line_with_the_reason(bad: Malformed) -> None:
    reset_peak()
    peak, start = peak_bytes(), time.thread_time()
    with all_warnings() as warned, pytest.raises(ImageError, match=re.escape(bad.reason)) as caught:
        decode_image(bad.data, 64)
    assert len(str(caught.value).splitlines()) == 1 and " at 0x" not in str(caught.value)
    assert not warned
    assert time.thread_time() - start < 1
    assert peak_bytes() - peak < 64 * 2**20


def over_white(colour: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Exact for alpha 0 and 255."""
    return np.where(alpha[..., None] == 255, colour, 255).astype(np.uint8)


def grey_rgb(values: np.ndarray) -> np.ndarray:
    return np.repeat(values[..., None], 3, axis=2)


def wide_png(rows: np.ndarray, colour: int, more: bytes = b"") -> bytes:
    """A PNG with 16 bits per channel, from uint16 [H, W, C]."""
    lines = b"".join(b"\0" + row.astype(">u2").tobytes() for row in rows)
    return png(rows.shape[1], rows.shape[0], zlib.compress(lines), depth=16, colour=colour, more=more)


def printed(ink: np.ndarray) -> np.ndarray:
    """RGB of CMYK: (1 - c)(1 - k), and so on, rounded once in the middle as Pillow does."""
    light = 255 - ink[..., 3:].astype(int)
    return (light - (ink[..., :3] * light / 255 + 0.5).astype(int)).astype(np.uint8)


def palette_with_alpha(palette: Image.Image, alpha: np.ndarray) -> Image.Image:
    image = palette.convert("PA")
    image.putalpha(Image.fromarray(alpha))
    return image


def premultiplied(colour: np.ndarray, alpha: np.ndarray) -> bytes:
    """A TIFF file whose colours are multiplied by their alpha, and that says so (ExtraSamples = 1)."""
    image = Image.fromarray(np.dstack([colour * (alpha[..., None] // 255), alpha]))
    data = encoded(image, "TIFF")
    other, this = (struct.pack("<HHIH", 338, 3, 1, kind) for kind in (2, 1))
    assert data.count(other) == 1
    return data.replace(other, this)


def with_exif(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return exif


def turned(orientation: int) -> Image.Image:
    """The picture as a file with that orientation holds it."""
    return Image.fromarray(np.ascontiguousarray(STORED_AS[orientation](PIXELS)))


def odd_but_well() -> dict[str, tuple[bytes, np.ndarray]]:
    """File name -> its content, and the pixels that it must give."""
    hard = np.where(np.asarray(ALPHA) > 127, 255, 0).astype(np.uint8)  # alpha
    palette = NOISE.quantize(200)
    indices, colours = np.asarray(palette), np.asarray(palette.convert("RGB"))
    rgba = Image.merge("RGBA", (*NOISE.split(), Image.fromarray(hard)))
    grey_alpha = Image.merge("LA", (NOISE.convert("L"), Image.fromarray(hard)))
    bits = NOISE.convert("1")
    bits_rgb = np.asarray(bits.convert("RGB"))
    frames = [Image.new("RGB", NOISE.size, colour) for colour in ("red", "blue")]
    wide = np.arange(48 * 64, dtype=np.uint16).reshape(48, 64) * 21
    narrow = (wide / 257 + 0.5).astype(np.uint8)
    cmyk = Image.fromarray(np.random.default_rng(2).integers(0, 256, (48, 64, 4), dtype=np.uint8), "CMYK")
    red = np.full((48, 64, 3), (255, 0, 0), np.uint8)
    jpeg = encoded(NOISE, "JPEG", quality=95)
    jpeg_pixels = np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB"))
    upside_down = PIXELS[::-1, :, ::-1].tobytes()  # BMP: from the bottom, blue first
    grey_tags = {256: (4, 64), 257: (4, 48), 258: (3, 8), 259: (3, 1), 262: (3, 1), 277: (3, 1), 278: (4, 48)}
    grey_tags |= {273: (4, tiff_data_at(9)), 279: (4, 64 * 48)}
    upright = PngImagePlugin.PngInfo()
    upright.add_itxt("XML:com.adobe.xmp", '<x:xmpmeta><rdf:Description tiff:Orientation="3"/></x:xmpmeta>')
    return {
        **{f"turned_{o}.png": (encoded(turned(o), "PNG", exif=with_exif(o)), PIXELS) for o in STORED_AS},
        "turned.webp": (encoded(turned(6), "WEBP", lossless=True, exif=with_exif(6)), PIXELS),
        "turned.tif": (encoded(turned(6), "TIFF", tiffinfo={ORIENTATION: 6}), PIXELS),
        "turned_packed.tif": (encoded(turned(8), "TIFF", tiffinfo={ORIENTATION: 8}, compression="tiff_lzw"), PIXELS),
        "turned_xmp.png": (encoded(turned(3), "PNG", pnginfo=upright), PIXELS),
        "turned_nonsense.png": (encoded(NOISE, "PNG", exif=with_exif(77)), PIXELS),
        "exif_garbage.jpg": (encoded(NOISE, "JPEG", quality=95, exif=b"Exif\0\0garbage" * 9), jpeg_pixels),
        "progressive.jpg": (encoded(NOISE, "JPEG", quality=95, progressive=True), jpeg_pixels),
        "more_behind.jpg": (jpeg + b"trailing garbage", jpeg_pixels),
        "film_frame.jpg": (without_segments(jpeg, 0xC4), jpeg_pixels),
        "cmyk.tif": (encoded(cmyk, "TIFF"), printed(np.asarray(cmyk))),
        "cmyk_adobe.jpg": (encoded(Image.new("CMYK", NOISE.size, (0, 255, 255, 0)), "JPEG", quality=100), red),
        "palette.png": (encoded(palette, "PNG"), colours),
        "palette_one_clear.png": (
            encoded(palette, "PNG", transparency=int(indices[0, 0])),
            over_white(colours, np.where(indices == indices[0, 0], 0, 255)),
        ),
        "palette_many_clear.png": (
            encoded(palette, "PNG", transparency=bytes(100) + b"\xff" * 156),
            over_white(colours, np.where(indices < 100, 0, 255)),
        ),
        "palette_alpha.tif": (encoded(palette_with_alpha(palette, hard), "TIFF"), over_white(colours, hard)),
        "grey.png": (encoded(NOISE.convert("L"), "PNG"), grey_rgb(GREY)),
        "grey_alpha.png": (encoded(grey_alpha, "PNG"), over_white(grey_rgb(GREY), hard)),
        "alpha.png": (encoded(rgba, "PNG"), over_white(PIXELS, hard)),
        "alpha.webp": (encoded(rgba, "WEBP", lossless=True, exact=True), over_white(PIXELS, hard)),
        "alpha_premultiplied.tif": (premultiplied(PIXELS, hard), over_white(PIXELS, hard)),
        "colour_is_clear.png": (
            encoded(NOISE, "PNG", transparency=tuple(map(int, PIXELS[0, 0]))),
            over_white(PIXELS, np.where((PIXELS[0, 0] == PIXELS).all(-1), 0, 255)),
        ),
        "bits.png": (encoded(bits, "PNG"), bits_rgb),
        "bits.tif": (encoded(bits, "TIFF"), bits_rgb),
        "wide_grey.png": (encoded(Image.fromarray(wide), "PNG"), grey_rgb(narrow)),
        "wide_grey.tif": (encoded(Image.fromarray(wide), "TIFF"), grey_rgb(narrow)),
        "wide_grey.pgm": (b"P5\n64 48\n65535\n" + wide.astype(">u2").tobytes(), grey_rgb(narrow)),
        "wide_grey_one_clear.png": (
            wide_png(wide[..., None], 0, png_chunk(b"tRNS", struct.pack(">H", wide[9, 9]))),
            over_white(grey_rgb(narrow), np.where(wide == wide[9, 9], 0, 255)),
        ),
        "wide_grey_alpha.png": (
            wide_png(np.stack([GREY, hard], -1).astype(np.uint16) * 257, 4),
            over_white(grey_rgb(GREY), hard),
        ),
        "wide.png": (wide_png(PIXELS.astype(np.uint16) * 257, 2), PIXELS),
        "no_end.png": (encoded(NOISE, "PNG")[:-12], PIXELS),
        "top_down.bmp": (bmp(64, -48, PIXELS[..., ::-1].tobytes()), PIXELS),
        "bottom_up.bmp": (bmp(64, 48, upside_down), PIXELS),
        "text.pgm": (b"P2\n# a comment\n3 1\n9\n0 3 9\n", grey_rgb(np.array([[0, 85, 255]], np.uint8))),
        "cyclic_second_directory.tif": (tiff(grey_tags, GREY.tobytes(), next_directory=8), grey_rgb(GREY)),
        "pages.tif": (encoded(NOISE, "TIFF", save_all=True, append_images=frames), PIXELS),
        "animated.gif": (encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]), red),
        "animated.png": (encoded(frames[0], "PNG", save_all=True, append_images=frames[1:]), red),
        "animated.webp": (
            encoded(NOISE, "WEBP", save_all=True, append_images=frames[1:], lossless=True),
            PIXELS,
        ),
        "one_pixel.png": (encoded(NOISE.crop((0, 0, 1, 1)), "PNG"), PIXELS[:1, :1]),
        "one_pixel.gif": (encoded(Image.new("RGB", (1, 1), "blue"), "GIF"), np.full((1, 1, 3), (0, 0, 255), np.uint8)),
        "tall.png": (encoded(NOISE.resize((1, 9000)), "PNG"), np.asarray(NOISE.resize((1, 9000)))),
        "broad.png": (encoded(NOISE.resize((9000, 1)), "PNG"), np.asarray(NOISE.resize((9000, 1)))),
    }


ODD = odd_but_well()


@pytest.mark.parametrize("name", ODD)
def test_what_is_odd_but_well_gives_exactly_its_pixels(name: str) -> None:
    data, expected = ODD[name]
    with all_warnings() as warned:
        decoded = decode_image(data)
    assert decoded.mode == "RGB" and not warned
    np.testing.assert_array_equal(np.asarray(decoded), expected)


@pytest.mark.parametrize("name", ["one_pixel.png", "tall.png", "broad.png"])
def test_odd_shapes_become_the_square_that_is_wanted(name: str) -> None:
    assert decode_image(ODD[name][0], 32).size == (32, 32)


def test_cmyk_files_say_that_they_are_adobes() -> None:
    assert b"Adobe" in ODD["cmyk_adobe.jpg"][0]  # or the test above would prove nothing


def test_cielab_is_refused_with_a_remedy() -> None:
    with pytest.raises(ImageError, match="CIELAB colours are not read; convert it to RGB"):
        decode_image(encoded(Image.new("LAB", (4, 4)), "TIFF"))
