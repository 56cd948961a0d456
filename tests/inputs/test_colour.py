"""Embedded profiles become sRGB, as their definitions say; grey of more than 8 bits is white where its file says so."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from augment.errors import ImageError
from augment.inputs.images import decode_image
from tests.inputs.profiles import P3, SRGB, cmyk_profile, grey_profile, p3_to_srgb, rgb_profile
from tests.malformed import NOISE, encoded, png, png_chunk, tiff, tiff_data_at

COLOURS = [(200, 100, 50), (0, 0, 0), (255, 255, 255), (255, 0, 0), (90, 160, 40), (128, 128, 128)]


def first(data: bytes, **settings: str) -> list[int]:
    return np.asarray(decode_image(data, **settings))[0, 0].tolist()  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("colour", COLOURS)
def test_display_p3_becomes_srgb(kind: str, colour: tuple[int, int, int]) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encoded(Image.new("RGB", (16, 16), colour), kind, icc_profile=rgb_profile(P3), **options)
    np.testing.assert_allclose(first(data), p3_to_srgb(colour), atol=1.01)
    assert first(data, colour="ignore") == list(colour)


def test_a_profile_is_kept_apart_from_alpha_and_turns_with_the_picture() -> None:
    options = {"icc_profile": rgb_profile(P3)}
    half = encoded(Image.new("RGBA", (4, 4), (200, 100, 50, 51)), "PNG", **options)
    expected = 255 + (p3_to_srgb((200, 100, 50)) - 255) * 51 / 255
    np.testing.assert_allclose(first(half), expected, atol=1.01)
    palette = Image.new("RGB", (4, 4), (200, 100, 50)).quantize(4)
    np.testing.assert_allclose(first(encoded(palette, "PNG", **options)), p3_to_srgb((200, 100, 50)), atol=1.01)
    grey = encoded(Image.new("L", (4, 4), 77), "PNG", **options)  # a profile for colours, on grey
    np.testing.assert_allclose(first(grey), p3_to_srgb((77, 77, 77)), atol=1.01)
    exif = Image.Exif()
    exif[0x0112] = 6
    assert decode_image(encoded(NOISE, "PNG", exif=exif, **options)).size == (48, 64)


def test_srgb_by_any_name_changes_nothing() -> None:
    for profile in (rgb_profile(SRGB), ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()):
        np.testing.assert_array_equal(decode_image(encoded(NOISE, "PNG", icc_profile=profile)), np.asarray(NOISE))


def test_grey_profiles() -> None:
    for value in (0, 30, 128, 255):
        light = value / 255  # gamma 1: the value is the light
        expected = 255 * (light * 12.92 if light <= 0.0031308 else 1.055 * light ** (1 / 2.4) - 0.055)
        data = encoded(Image.new("L", (4, 4), value), "PNG", icc_profile=grey_profile(1.0))
        np.testing.assert_allclose(first(data), [expected] * 3, atol=1.01)
        deep = encoded(Image.fromarray(np.full((4, 4), value * 257, np.uint16)), "PNG", icc_profile=grey_profile(1.0))
        assert first(deep) == first(data)
        two = encoded(Image.new("LA", (4, 4), (value, 255)), "PNG", icc_profile=grey_profile(1.0))
        assert first(two) == first(data)
    coloured = encoded(Image.new("RGB", (4, 4), (9, 99, 200)), "PNG", icc_profile=grey_profile(1.0))
    assert first(coloured) == [9, 99, 200]  # cannot be meant


def test_cmyk_profiles() -> None:
    """The press here prints black for any full ink, which no formula without its profile would say."""
    for ink, expected in (((0, 0, 0, 0), 255), ((255, 0, 0, 0), 0), ((0, 0, 0, 255), 0)):
        data = encoded(Image.new("CMYK", (16, 16), ink), "TIFF", icc_profile=cmyk_profile())
        np.testing.assert_allclose(first(data), [expected] * 3, atol=2)
        jpeg = encoded(Image.new("CMYK", (16, 16), ink), "JPEG", quality=95, icc_profile=cmyk_profile())
        np.testing.assert_allclose(first(jpeg), [expected] * 3, atol=4)
    cyan = encoded(Image.new("CMYK", (16, 16), (255, 0, 0, 0)), "TIFF", icc_profile=cmyk_profile())
    assert first(cyan, colour="ignore") == [0, 255, 255]
    other = encoded(Image.new("CMYK", (16, 16), (255, 0, 0, 0)), "TIFF", icc_profile=rgb_profile(P3))
    assert first(other) == [0, 255, 255]


def test_profiles_that_cannot_be_used_are_ignored() -> None:
    good = rgb_profile(P3)
    rng = np.random.default_rng(0)
    bad = [b"x", bytes(200), good[:60], good[:150], good[:-200], good.replace(b"RGB ", b"Luv "), rng.bytes(3000)]
    for profile in bad:
        assert first(encoded(Image.new("RGB", (8, 8), (200, 100, 50)), "PNG", icc_profile=profile)) == [200, 100, 50]
    for seed in range(100):
        rng = np.random.default_rng(seed)
        damaged = np.frombuffer(cmyk_profile() if seed % 2 else good, np.uint8).copy()
        damaged[rng.integers(0, len(damaged), 30)] = rng.integers(0, 256, 30)
        mode = "CMYK" if seed % 2 else "RGB"
        decode_image(encoded(Image.new(mode, (8, 8)), "TIFF", icc_profile=damaged.tobytes()))  # no error is the test


# --- grey of more than 8 bits

RAMP = np.linspace(0, 4095, 48 * 64).astype(np.uint16).reshape(48, 64)
FULL = np.round(RAMP / 4095 * 255)


def deep_png(values: np.ndarray, bits: int | None) -> bytes:
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    more = b"" if bits is None else png_chunk(b"sBIT", bytes([bits]))
    return png(values.shape[1], values.shape[0], zlib.compress(rows), depth=16, colour=0, more=more)


def test_twelve_bits_in_sixteen_are_scaled_where_the_file_says_so() -> None:
    picture = Image.fromarray(RAMP)
    for data in (encoded(picture, "TIFF", tiffinfo={281: 4095}), deep_png(RAMP, 12)):
        np.testing.assert_allclose(np.asarray(decode_image(data))[..., 0], FULL, atol=1)
    for data in (encoded(picture, "TIFF"), encoded(picture, "PNG"), deep_png(RAMP, None), deep_png(RAMP, 16)):
        np.testing.assert_array_equal(np.asarray(decode_image(data))[..., 0], np.round(RAMP / 65535 * 255))


def test_a_png_that_was_scaled_up_as_its_standard_wants_is_not_scaled_again() -> None:
    scaled = (RAMP << 4) | (RAMP >> 8)  # twelve bits, repeated
    dark = (RAMP >> 8) << 4  # of a dark picture: its low bits are 0
    np.testing.assert_allclose(np.asarray(decode_image(deep_png(scaled, 12)))[..., 0], FULL, atol=1)
    assert np.asarray(decode_image(deep_png(dark.astype(np.uint16), 12))).max() == 1


def test_twelve_packed_bits_of_tiff() -> None:
    tags = {256: (4, 2), 257: (4, 1), 258: (3, 12), 259: (3, 1), 262: (3, 1), 277: (3, 1), 278: (4, 1)}
    tags |= {273: (4, tiff_data_at(9)), 279: (4, 3)}
    data = tiff(tags, bytes([0xFF, 0xF8, 0x00]))  # 4095, 2048
    assert np.asarray(decode_image(data))[0, :, 0].tolist() == [255, 128]


def test_values_beyond_what_the_file_states_count_as_sixteen_bits() -> None:
    values = np.array([[0, 4096, 65535]], np.uint16)
    data = encoded(Image.fromarray(values), "TIFF", tiffinfo={281: 4095})
    assert np.asarray(decode_image(data))[0, :, 0].tolist() == [0, 16, 255]
    with pytest.raises(ImageError, match="expected 0 to 65535"):
        decode_image(encoded(Image.fromarray(np.array([[0, 70_000]], np.int32)), "TIFF"))


def test_sixteen_bit_colours() -> None:
    pixels = np.asarray(NOISE).astype(np.uint16) * 257
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    np.testing.assert_array_equal(decode_image(png(64, 48, zlib.compress(rows), depth=16)), np.asarray(NOISE))
    at = tiff_data_at(10)
    tags = {256: (4, 64), 257: (4, 48), 258: (3, at), 259: (3, 1), 262: (3, 2), 273: (4, at + 6), 277: (3, 3)}
    tags |= {278: (4, 48), 279: (4, pixels.nbytes), 284: (3, 1)}
    data = tiff(tags, struct.pack("<HHH", 16, 16, 16) + pixels.astype("<u2").tobytes())
    # Three values of 16 bits do not fit into an entry, which then says where they are.
    data = data.replace(struct.pack("<HHII", 258, 3, 1, at), struct.pack("<HHII", 258, 3, 3, at))
    np.testing.assert_array_equal(decode_image(data), np.asarray(NOISE))
