"""Files that a data set may hold under the name of an image and that are none, or damaged: made here, byte by byte.

for name, data in malformed_inputs().items(): (folder / name).write_bytes(data)
"""

from __future__ import annotations

import base64
import gzip
import io
import json
import struct
import zlib
from dataclasses import dataclass

import numpy as np
from PIL import Image

NOISE = Image.fromarray(np.random.default_rng(1).integers(0, 256, (48, 64, 3), dtype=np.uint8))


@dataclass(frozen=True)
class Malformed:
    """A file that must not decode.

    Attributes:
        name: a file name with an image's extension.
        reason: what the message must contain.
    """

    name: str
    data: bytes
    reason: str


def malformed_inputs() -> dict[str, bytes]:
    """File name -> content of every file that must not decode; at least forty."""
    return {bad.name: bad.data for bad in malformed()}


def malformed() -> list[Malformed]:
    """Every file that must not decode, with the reason that must be given."""
    return [
        *_no_images(),
        *_pngs(),
        *_jpegs(),
        *_webps_and_gifs(),
        *_tiffs(),
        *_bmps_and_ppms(),
    ]


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    """The image as a file of that kind."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)  # type: ignore[arg-type]
    return buffer.getvalue()


def png_chunk(kind: bytes, body: bytes) -> bytes:
    """A chunk of a PNG file, with its right checksum."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, data: bytes, depth: int = 8, colour: int = 2, more: bytes = b"") -> bytes:
    """A PNG file with this header, these chunks before the pixels, and these compressed pixels."""
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + more + png_chunk(b"IDAT", data) + png_chunk(b"IEND", b"")


def tiff(tags: dict[int, tuple[int, int]], data: bytes = b"", next_directory: int = 0) -> bytes:
    """A little-endian TIFF file: a directory of `tag: (type, value)`, then the data, from `tiff_data_at` on."""
    entries = [struct.pack("<HHII", tag, kind, 1, value) for tag, (kind, value) in sorted(tags.items())]
    directory = struct.pack("<H", len(entries)) + b"".join(entries) + struct.pack("<I", next_directory)
    return b"II*\0" + struct.pack("<I", 8) + directory + data


def tiff_data_at(num_tags: int) -> int:
    """Where the data of a file made by `tiff` begins."""
    return 8 + 2 + 12 * num_tags + 4


def bmp(width: int, height: int, data: bytes, header_size: int = 40) -> bytes:
    """A BMP file of 24 bits per pixel."""
    header = struct.pack("<IiiHHIIiiII", header_size, width, height, 1, 24, 0, len(data), 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54 + len(data), 0, 0, 54) + header + data


def _flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]


def without_segments(jpeg: bytes, marker: int) -> bytes:
    """A JPEG file without the header segments of a kind."""
    kept, at = jpeg[:2], 2
    while jpeg[at + 1] != 0xDA:  # the scan, whose data runs to the end
        end = at + 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")
        kept += b"" if jpeg[at + 1] == marker else jpeg[at:end]
        at = end
    return kept + jpeg[at:]


def _no_images() -> list[Malformed]:
    page = b"<!DOCTYPE html>\n<html><body><h1>403 Forbidden</h1></body></html>\n"
    drawing = b'<svg xmlns="http://www.w3.org/2000/svg"><rect width="9" height="9"/></svg>'
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 12345\n"
    files = {
        "one_byte.jpg": b"\xff",
        "nul_bytes.png": bytes(4096),
        "text.jpg": b"to do: add the picture\n",
        "utf16_text.png": "to do: add the picture".encode("utf-16"),
        "error_page.jpg": page,
        "answer.webp": json.dumps({"error": {"code": 404}}).encode(),
        "drawing.png": drawing,
        "postscript.tif": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n",
        "document.png": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n",
        "archive.jpg": b"PK\x03\x04" + bytes(26),
        "film.jpg": b"\0\0\0\x20ftypisom\0\0\x02\0isomiso2avc1mp41",
        "phone.jpg": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
        "gzipped.png": gzip.compress(encoded(NOISE, "PNG"), mtime=0),
        "base64.png": base64.b64encode(encoded(NOISE, "PNG")),
        "lfs_pointer.jpg": pointer,
        "pickle.png": b"\x80\x04\x95\x0b\0\0\0\0\0\0\0\x8c\x07picture\x94.",
        "sound.webp": b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0",
    }
    return [
        Malformed("zero_bytes.png", b"", "zero bytes"),
        *(Malformed(name, data, "not an image") for name, data in files.items()),
    ]


def _pngs() -> list[Malformed]:
    good = encoded(NOISE, "PNG")
    at = good.index(b"IDAT") + 4
    rows = zlib.compress(bytes(48 * (1 + 64 * 3)))
    return [
        Malformed("png_signature.png", good[:8], "damaged at its beginning, b'\\x89PNG"),
        Malformed("png_cut_in_header.png", good[:20], "damaged image: Truncated"),
        Malformed("png_cut_in_half.png", good[: len(good) // 2], "truncated"),
        Malformed("png_cut_near_end.png", good[:-100], "truncated"),
        Malformed("png_wrong_magic.png", _flipped(good, 0), "not an image"),
        Malformed("png_as_text.png", good.replace(b"\r\n", b"\n"), "not an image"),
        Malformed("png_bad_header_checksum.png", _flipped(good, 29), "not an image"),
        Malformed("png_zero_width.png", png(0, 48, rows), "not an image"),
        Malformed("png_bad_header_length.png", good[:11] + b"\x0c" + good[12:], "damaged image"),
        Malformed("png_three_bits.png", png(64, 48, rows, depth=3), "not an image"),
        Malformed("png_bomb.png", png(60_000, 60_000, rows), "pixels allowed"),
        Malformed("png_too_many_pixels.png", png(10_000, 10_000, rows), "10000x10000 pixels are more than"),
        Malformed("png_pixels_are_garbage.png", png(64, 48, b"garbage" * 20), "damaged image"),
        Malformed("png_flipped_byte.png", _flipped(good, at + 3000), "damaged image: broken data stream"),
        Malformed("png_no_pixels.png", good[: at - 8] + png_chunk(b"IEND", b""), "damaged image: cannot load"),
        Malformed(
            "png_text_bomb.png", png(64, 48, rows, more=_text_bomb()), "damaged image: Decompressed data too large"
        ),
    ]


def _text_bomb() -> bytes:
    """Kilobytes that unpack to many megabytes of comments."""
    return png_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(80 * 2**20), 9))


def _jpegs() -> list[Malformed]:
    good = encoded(NOISE, "JPEG")
    frame = good.index(b"\xff\xc0") + 5  # height, width

    def sized(height: int, width: int) -> bytes:
        return good[:frame] + struct.pack(">HH", height, width) + good[frame + 4 :]

    return [
        Malformed("jpeg_start_only.jpg", b"\xff\xd8", "not an image"),
        Malformed("jpeg_start_and_end.jpg", b"\xff\xd8\xff\xd9", "not an image"),
        Malformed("jpeg_cut_in_header.jpg", good[:100], "damaged image: Truncated"),
        Malformed("jpeg_cut_in_half.jpg", good[: len(good) // 2], "truncated"),
        Malformed("jpeg_cut_near_end.jpg", good[:-20], "truncated"),
        Malformed("jpeg_progressive_cut.jpg", encoded(NOISE, "JPEG", progressive=True)[:1200], "truncated"),
        Malformed("jpeg_no_quantization.jpg", without_segments(good, 0xDB), "damaged image: broken data stream"),
        Malformed("jpeg_no_frame.jpg", without_segments(good, 0xC0), "not an image"),
        Malformed("jpeg_no_scan.jpg", good[: good.index(b"\xff\xda")] + b"\xff\xd9", "damaged image: cannot load"),
        Malformed("jpeg_zero_width.jpg", sized(48, 0), "not an image"),
        Malformed("jpeg_bomb.jpg", sized(65_000, 65_000), "pixels allowed"),
        Malformed("jpeg_twelve_bits.jpg", good[: frame - 1] + b"\x0c" + good[frame:], "not an image"),
    ]


def webp_of_one_colour(width: int, height: int) -> bytes:
    """A lossless WebP file of forty bytes, whatever its size: each code has one symbol, so no pixel needs a bit."""
    bits = (width - 1) | (height - 1) << 14
    at = 32 + 3  # after width, height, alpha and version: no transform, no cache, no further codes
    for _ in range(5):
        bits |= 1 << at  # a simple code, of one symbol, of one bit, 0
        at += 4
    data = b"\x2f" + bits.to_bytes(19, "little")
    chunk = b"VP8L" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", 4 + len(chunk)) + b"WEBP" + chunk


def _webps_and_gifs() -> list[Malformed]:
    webp, gif = encoded(NOISE, "WEBP"), encoded(NOISE, "GIF")
    screen = b"GIF89a" + struct.pack("<HHBBB", 64, 48, 0, 0, 0)
    return [
        Malformed("webp_cut_in_header.webp", webp[:20], "damaged image"),
        Malformed("webp_cut_in_half.webp", webp[: len(webp) // 2], "damaged image"),
        Malformed("webp_cut_near_end.webp", webp[:-20], "damaged image"),
        Malformed("webp_wrong_size.webp", webp[:4] + struct.pack("<I", 12) + webp[8:], "damaged image"),
        Malformed("webp_garbage.webp", webp[:20] + b"garbage!" * 40, "damaged image"),
        Malformed("webp_bomb.webp", webp_of_one_colour(16383, 16383), "pixels allowed"),
        Malformed("webp_too_many_pixels.webp", webp_of_one_colour(12_000, 12_000), "12000x12000 pixels are more than"),
        Malformed("gif_cut_in_half.gif", gif[: len(gif) // 2], "truncated"),
        Malformed("gif_cut_in_palette.gif", gif[:100], "not an image"),
        Malformed("gif_no_frames.gif", screen + b";", "not an image"),
        Malformed("gif_screen_only.gif", screen, "not an image"),
    ]


def _tiffs() -> list[Malformed]:
    good = encoded(NOISE, "TIFF")
    packed = encoded(NOISE, "TIFF", compression="tiff_lzw")
    grey = {256: (4, 64), 257: (4, 48), 258: (3, 8), 259: (3, 1), 262: (3, 1), 277: (3, 1), 278: (4, 48)}
    strip = {273: (4, tiff_data_at(9)), 279: (4, 64 * 48)}
    nan = encoded(Image.fromarray(np.full((4, 4), np.nan, np.float32)), "TIFF")
    infinite = encoded(Image.fromarray(np.full((4, 4), np.inf, np.float32)), "TIFF")
    negative = encoded(Image.fromarray(np.full((4, 4), -7, np.int32)), "TIFF")
    return [
        Malformed("tiff_cut_in_header.tif", good[:6], "not an image"),
        Malformed("tiff_cut_in_half.tif", good[: len(good) // 2], "truncated"),
        Malformed("tiff_cut_near_end.tif", good[:-100], "truncated"),
        Malformed("tiff_packed_cut.tif", packed[: len(packed) // 2], "not an image"),
        Malformed("tiff_directory_beyond_end.tif", b"II*\0" + struct.pack("<I", 1 << 30), "not an image"),
        Malformed("tiff_cyclic_directory.tif", tiff({}, next_directory=8), "not an image"),
        Malformed(
            "tiff_strip_beyond_end.tif", tiff(grey | {273: (4, 1 << 30), 279: (4, 3072)}, bytes(3072)), "truncated"
        ),
        Malformed("tiff_no_strips.tif", tiff(grey, bytes(3072)), "not an image"),
        Malformed("tiff_unknown_packing.tif", tiff(grey | strip | {259: (3, 4711)}, bytes(3072)), "not an image"),
        Malformed(
            "tiff_bomb.tif", tiff(grey | strip | {256: (4, 90_000), 257: (4, 90_000)}, bytes(3072)), "pixels allowed"
        ),
        Malformed("tiff_nan.tif", nan, "nan to nan, expected 0 to 1"),
        Malformed("tiff_infinite.tif", infinite, "inf to inf, expected 0 to 1"),
        Malformed("tiff_negative.tif", negative, "int32 pixels from -7 to -7"),
    ]


def _bmps_and_ppms() -> list[Malformed]:
    good = encoded(NOISE, "BMP")
    return [
        Malformed("bmp_cut_in_header.bmp", good[:20], "damaged image: Truncated"),
        Malformed("bmp_cut_in_half.bmp", good[: len(good) // 2], "truncated"),
        Malformed("bmp_negative_width.bmp", bmp(-64, 48, bytes(64 * 48 * 3)), "pixels allowed"),
        Malformed("bmp_bomb.bmp", bmp(2**31 - 1, 2**31 - 1, bytes(100)), "pixels allowed"),
        Malformed("bmp_zero_height.bmp", bmp(64, 0, b""), "not an image"),
        Malformed(
            "bmp_unknown_header.bmp",
            bmp(64, 48, bytes(64 * 48 * 3), header_size=17),
            "damaged image: Unsupported BMP header",
        ),
        Malformed("ppm_little_data.ppm", b"P6\n64 48\n255\n" + bytes(100), "truncated"),
        Malformed("ppm_size_is_text.ppm", b"P6\nwide high\n255\n" + bytes(100), "damaged image"),
        Malformed("ppm_size_missing.ppm", b"P6\n64", "damaged image"),
        Malformed("ppm_no_grey_levels.ppm", b"P5\n64 48\n0\n" + bytes(64 * 48), "damaged image"),
        Malformed("ppm_bomb.ppm", b"P6\n99999 99999\n255\n" + bytes(100), "pixels allowed"),
        Malformed("ppm_text_too_bright.ppm", b"P2\n2 1\n255\n1 256\n", "damaged image"),
    ]
