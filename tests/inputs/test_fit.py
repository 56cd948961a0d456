"""Sizes and pixels of fitted pictures, exactly."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from augment.inputs.fit import MAX_ASPECT, Area, Fit, FitName, bucket_step, buckets, fit_of
from augment.inputs.images import decode_image, encode_png
from tests.inputs.test_images import encode

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)
WIDE = np.repeat(np.array([[RED, GREEN, BLUE]], np.uint8), 8, axis=1).repeat(8, axis=0)  # 24 x 8, three squares


@pytest.mark.parametrize(
    ("size", "step", "count"), [(16, 2, 27), (64, 8, 27), (512, 64, 27), (768, 64, 39), (1024, 64, 51)]
)
def test_buckets(size: int, step: int, count: int) -> None:
    found = buckets(size)
    assert (bucket_step(size), len(found), len(set(found))) == (step, count, count)
    assert all(width % step == 0 and height % step == 0 for width, height in found)
    assert all(abs(width * height - size**2) <= step * size for width, height in found)
    assert all(max(s) <= MAX_ASPECT * min(s) for s in found)
    assert found[0] == (size, size)
    assert {found[-1], found[-2]} == {(2 * size, size // 2), (size // 2, 2 * size)}
    assert {(height, width) for width, height in found} == set(found)
    aspects = sorted(width / height for width, height in found)
    assert max(b / a for a, b in pairwise(aspects)) <= 1.25  # so at most a ninth is cut off between two of them


@pytest.mark.parametrize("size", [1, 5, 68, 100, 544])
def test_sizes_that_are_no_multiple_of_the_step_have_buckets_too(size: int) -> None:
    width, height = Fit("bucket", size).size_of(1000, 1000)
    assert width == height
    assert abs(width - size) <= bucket_step(size) / 2


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("crop", (300, 100), (64, 64)),
        ("stretch", (300, 100), (64, 64)),
        ("pad", (300, 100), (64, 21)),
        ("pad", (100, 300), (21, 64)),
        ("pad", (1000, 3), (64, 1)),
        ("pad", (8, 8), (64, 64)),
        ("bucket", (300, 100), (112, 40)),
        ("bucket", (100, 300), (40, 112)),
        ("bucket", (4000, 3000), (72, 56)),
        ("bucket", (128, 64), (96, 48)),
        ("bucket", (10, 10), (64, 64)),
        ("bucket", (9999, 10), (128, 32)),
    ],
)
def test_size_of_a_picture(name: str, given: tuple[int, int], expected: tuple[int, int]) -> None:
    fit = Fit(name, 64)  # type: ignore[arg-type]
    assert fit.size_of(*given) == expected
    assert fit.allows(*expected)
    assert decode_image(encode_png(np.zeros((given[1], given[0], 3), np.uint8)), fit).size == expected


@pytest.mark.parametrize(
    ("name", "share"), [("crop", 2 / 3), ("stretch", 0.0), ("pad", 0.0), ("bucket", 1 - 112 / 120)]
)
def test_share_that_is_cut_off(name: str, share: float) -> None:
    fit = Fit(name, 64)  # type: ignore[arg-type]
    assert fit.share_lost(192, 64) == pytest.approx(share)
    assert fit.share_lost(64, 192) == pytest.approx(share)
    assert fit.share_lost(64, 64) == 0.0


def test_pixels_of_a_wide_picture() -> None:
    data = encode_png(WIDE)
    crop, stretch, pad, bucket = (
        np.asarray(decode_image(data, Fit(n, 8))) for n in ("crop", "stretch", "pad", "bucket")
    )
    np.testing.assert_array_equal(crop, WIDE[:, 8:16])
    assert stretch.shape == (8, 8, 3) and pad.shape == (3, 8, 3) and bucket.shape == (5, 14, 3)
    for whole in (stretch, pad, bucket):  # the outer squares are still there
        assert [tuple(np.argmax(whole[1, column]) for column in (0, whole.shape[1] // 2, -1))] == [(0, 1, 2)]
    expected = np.asarray(Image.fromarray(WIDE).resize((8, 3), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(pad, expected)
    np.testing.assert_array_equal(stretch, np.asarray(Image.fromarray(WIDE).resize((8, 8), Image.Resampling.BICUBIC)))


@pytest.mark.parametrize("name", ["crop", "pad", "stretch", "bucket"])
def test_a_large_jpeg_file_is_reduced_as_it_is_decoded_and_fitted_to_the_same_size(name: FitName) -> None:
    """Also if it is to be turned, when its own sides are the other way round."""
    exif = Image.Exif()
    exif[0x0112] = 6
    y, x = np.mgrid[:480, :1600]
    smooth = Image.fromarray(np.stack([x / 8, y / 2, x / 16], axis=-1).astype(np.uint8))
    for options in ({}, {"exif": exif}):
        data, fit = encode(smooth, "JPEG", quality=95, **options), Fit(name, 64)
        whole = decode_image(data)
        reduced = decode_image(data, fit)
        assert reduced.size == fit.size_of(*whole.size)
        difference = np.abs(np.asarray(reduced, int) - np.asarray(fit.apply(whole, whole.size), int))
        assert 0 < difference.max() <= 4 and difference.mean() < 1


def test_padding_repeats_the_border_and_the_area_undoes_it() -> None:
    fit, pixels = Fit("pad", 8), np.arange(3 * 8 * 3, dtype=np.uint8).reshape(3, 8, 3)
    padded, area = fit.padded(pixels), fit.area(8, 3)
    assert area == Area(0, 2, 8, 3)
    np.testing.assert_array_equal(padded[:2], np.repeat(pixels[:1], 2, axis=0))
    np.testing.assert_array_equal(padded[5:], np.repeat(pixels[2:], 3, axis=0))
    np.testing.assert_array_equal(area.cut(padded.transpose(2, 0, 1)), pixels.transpose(2, 0, 1))
    turned = fit.padded(pixels.transpose(1, 0, 2))
    np.testing.assert_array_equal(turned, padded.transpose(1, 0, 2))
    for name in ("crop", "stretch", "bucket"):
        assert Fit(name, 8).padded(pixels) is pixels
        assert Fit(name, 8).area(8, 3) == Area(0, 0, 8, 3)


@pytest.mark.parametrize("name", ["crop", "pad", "stretch", "bucket"])
def test_a_picture_of_the_size_wanted_is_untouched(name: str) -> None:
    array = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    np.testing.assert_array_equal(np.asarray(decode_image(encode_png(array), Fit(name, 32))), array)  # type: ignore[arg-type]


def test_a_number_is_the_crop() -> None:
    data = encode(Image.fromarray(WIDE))
    np.testing.assert_array_equal(np.asarray(decode_image(data, 6)), np.asarray(decode_image(data, Fit("crop", 6))))


def test_what_a_plan_says() -> None:
    """Plans and hashes from before there was a choice mean the crop."""
    assert fit_of({"input.image_size": 64}) == Fit("crop", 64)
    assert fit_of({"input.image_size": 64, "input.fit": "pad"}) == Fit("pad", 64)
    assert [Fit(n, 64).identity for n in ("crop", "pad", "stretch", "bucket")] == [
        64,
        "pad 64",
        "stretch 64",
        "bucket 64",
    ]
