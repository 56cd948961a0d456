"""Which files are images, by their content: a format of the installed Pillow is read, or left alone for a reason."""

from __future__ import annotations

import random
import struct

import numpy as np
import pytest
from PIL import Image

from augment.errors import ImageError
from augment.inputs.formats import (
    FORMATS,
    HEAD_BYTES,
    IMAGE_EXTENSIONS,
    image_format,
    is_hidden,
    kind_of_head,
    kind_of_name,
)
from augment.inputs.images import decode_image
from tests.malformed import NOISE, encoded

NOT_READ = {
    "starts another program or asks the system": {"EPS", "WMF"},
    "Pillow knows the kind of file and does not decode it": {"BUFR", "GRIB", "HDF5", "MPEG"},
    "holds measurements, not colours": {"FITS", "SPIDER", "MCIDAS"},
    "cannot be told from other files by its beginning": {"DIB", "GBR", "IM", "IMT", "IPTC", "PCD"},
    "is a film, or a thumbnail of another file": {"FLI", "XVTHUMB"},
    "reads files within files by way of another package": {"FPX", "MIC"},
}
EXACT = ("PNG", "JPEG2000", "TIFF", "BMP", "PPM", "TGA", "DDS", "QOI", "SGI", "PCX")
CLOSE = ("JPEG", "WEBP", "AVIF")
RAMP = np.add.outer(np.arange(48), np.arange(64)).astype(np.uint8)
SMOOTH = Image.fromarray(np.stack([RAMP, np.full_like(RAMP, 90), np.full_like(RAMP, 30)], axis=-1))


def test_every_format_of_the_installed_pillow_is_decided() -> None:
    Image.init()
    left = [name for names in NOT_READ.values() for name in names]
    assert len(left) == len(set(left)) and not set(left) & set(FORMATS)
    assert set(Image.OPEN) <= set(left) | set(FORMATS)
    assert set(FORMATS) <= set(Image.OPEN)
    known = {extension for extension, name in Image.registered_extensions().items() if name in FORMATS}
    assert {extension.removeprefix(".") for extension in known} - {"dib"} <= set(IMAGE_EXTENSIONS)


@pytest.mark.parametrize("kind", EXACT)
def test_what_keeps_pixels_gives_them_back(kind: str) -> None:
    data = encoded(NOISE, kind)
    assert image_format(data) == kind
    np.testing.assert_array_equal(decode_image(data), np.asarray(NOISE))
    if kind != "TGA":
        assert image_format(data[:HEAD_BYTES]) == kind


@pytest.mark.parametrize("kind", CLOSE)
def test_what_compresses_pixels_gives_nearly_the_same(kind: str) -> None:
    data = encoded(SMOOTH, kind, quality=90)
    assert image_format(data) == image_format(data[:HEAD_BYTES]) == kind
    np.testing.assert_allclose(np.asarray(decode_image(data), float), np.asarray(SMOOTH, float), atol=12)


def test_icons_give_their_largest_picture() -> None:
    square = NOISE.resize((32, 32))
    np.testing.assert_array_equal(decode_image(encoded(square, "ICO", sizes=[(16, 16), (32, 32)])), np.asarray(square))
    large = encoded(NOISE.resize((128, 128)), "ICNS")
    assert image_format(large[:HEAD_BYTES]) == "ICNS" and decode_image(large).size == (1024, 1024)


@pytest.mark.parametrize("kind", ["MSP", "XBM"])
def test_black_and_white(kind: str) -> None:
    picture = NOISE.convert("1")
    np.testing.assert_array_equal(decode_image(encoded(picture, kind)), np.asarray(picture.convert("RGB")))


def test_formats_that_pillow_reads_and_does_not_write() -> None:
    pixels = np.asarray(NOISE)
    planes = pixels.transpose(2, 0, 1).tobytes()
    psd = struct.pack(">4sH6xHIIHHIIIH", b"8BPS", 1, 3, 48, 64, 8, 3, 0, 0, 0, 0) + planes
    sun = struct.pack(">8I", 0x59A66A95, 64, 48, 24, pixels.size, 1, 0, 0) + pixels[..., ::-1].tobytes()
    for kind, data in (("PSD", psd), ("SUN", sun)):
        assert image_format(data[:HEAD_BYTES]) == kind
        np.testing.assert_array_equal(decode_image(data), pixels)
    text = b'/* XPM */\nstatic char *x[] = {\n"2 1 2 1",\n"a c #ff0000",\n"b c #0000ff",\n"ab"\n};\n'
    assert np.asarray(decode_image(text)).tolist() == [[[255, 0, 0], [0, 0, 255]]]


def test_tga_without_its_mark_is_known_by_its_length() -> None:
    for options in ({}, {"compression": "tga_rle"}):
        data = encoded(NOISE, "TGA", **options)[:-26]
        np.testing.assert_array_equal(decode_image(data), np.asarray(NOISE))
    data = encoded(NOISE, "TGA")[:-26]
    for wrong in (data[:-1], data + b"\0", b"\1" + data[1:], data[:2] + b"\7" + data[3:]):
        with pytest.raises(ImageError, match="not an image"):
            decode_image(wrong)


def test_noise_and_texts_are_no_images() -> None:
    for seed in range(2_000):
        draw = random.Random(seed)
        size = draw.randrange(1, 400)
        data = draw.randbytes(size) if seed % 2 else "".join(draw.choices("aP1# \n\t=/*", k=size)).encode()
        if seed % 2:
            assert image_format(data) is None
        elif (found := image_format(data)) is not None:
            assert found == "PPM" and data[1:2] == b"1" and data[2:3] in b"\n\t #"
    for text in (b"Python is a language", b"BMW\n" * 20, b"#define X 1\n", b"\n\x00\x01", b"GIF", b"II* sigh *"):
        assert kind_of_head(text) == "unknown"
    assert kind_of_head(b"") == "empty"


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "HEIC"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
        (b"\xff\x0a\xfa\x1f", "JPEG XL"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "PostScript"),
        (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg">', "SVG"),
    ],
)
def test_images_that_are_not_read_are_called_by_their_names(head: bytes, name: str) -> None:
    assert kind_of_head(head) == "image format that is not read"
    with pytest.raises(ImageError, match=f"not an image of a format that is read, but {name}; convert it to PNG"):
        decode_image(head)


def test_a_phones_avif_is_told_from_its_heic() -> None:
    assert image_format(b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf") == "AVIF"
    assert image_format(b"\0\0\0\x1cftypavis\0\0\0\0avismsf1") == "AVIF"


def test_kinds_by_name() -> None:
    kinds = {
        "a/1.JPG": "image",
        "1.jfif": "image",
        "1.jpe": "image",
        "1.avif": "image",
        "1.jp2": "image",
        "README.md": "text",
        "1.json": "text",
        "1.npy": "data",
        "1.mp4": "video",
        "a.b/1.zip": "archive",
        "1.dng": "image format that is not read",  # begins as a TIFF file, with a thumbnail
        "0001": "",
        "a.b/0001": "",
        "1.heic": "",  # some are JPEG files
        "1.": "",
    }
    assert {name: kind_of_name(name) for name in kinds} == kinds
    names = [".x.png", "._1.jpg", "Thumbs.db", "desktop.ini", "__MACOSX", "Icon\r"]
    assert all(map(is_hidden, names)) and not is_hidden("1.png")
