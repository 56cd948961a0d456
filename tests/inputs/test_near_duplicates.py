"""Versions of one picture are found, other pictures of the same kind are not."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from augment.inputs.images import decode_image
from augment.inputs.near_duplicates import (
    MAX_BITS,
    MAX_DIFFERENCE,
    difference_hash,
    looks_like,
    near_pairs,
    small_version,
)
from augment.inputs.readers import list_sources, read_bytes
from augment.tiny.dataset import split_path


def shipped(split: str, count: int) -> list[Image.Image]:
    sources = list_sources(split_path(split), "webdataset").sources[:count]
    return [decode_image(read_bytes(source)) for source in sources]


def test_the_hash_says_where_a_picture_becomes_brighter() -> None:
    ramp = np.tile(np.arange(0, 90, 10, dtype=np.uint8), (8, 1))
    assert difference_hash(Image.fromarray(ramp)) == 2**64 - 1
    assert difference_hash(Image.fromarray(ramp[:, ::-1].copy())) == 0
    ramp[0, 1] = 0  # no longer brighter than its left neighbour: the first bit
    assert difference_hash(Image.fromarray(ramp)) == 2**63 - 1


def test_pairs_are_those_within_so_many_bits() -> None:
    assert list(near_pairs([0, 0b111], [0b1, 2**63], 1)) == [(0, 0), (0, 1)]
    assert list(near_pairs([0, 0b111], [0b1, 2**63], 2)) == [(0, 0), (0, 1), (1, 0)]
    assert list(near_pairs([], [1])) == list(near_pairs([1], [])) == []


@pytest.mark.parametrize("version", ["jpeg", "half the size", "twice the size", "darker"])
def test_versions_of_a_picture_are_found(version: str) -> None:
    pictures = shipped("val", 12)
    for picture in pictures:
        if version == "jpeg":
            file = io.BytesIO()
            picture.save(file, "JPEG", quality=80)
            other = decode_image(file.getvalue())
        elif version == "darker":
            other = ImageEnhance.Brightness(picture).enhance(0.97)
        else:
            other = picture.resize((32, 32) if version == "half the size" else (128, 128))
        assert (difference_hash(picture) ^ difference_hash(other)).bit_count() <= MAX_BITS
        assert looks_like(small_version(picture), small_version(other))


def test_pictures_of_the_same_kind_are_no_duplicates() -> None:
    train, val = shipped("train", 100), shipped("val", 100)
    pairs = near_pairs([difference_hash(p) for p in train], [difference_hash(p) for p in val])
    assert not [(i, j) for i, j in pairs if looks_like(small_version(train[i]), small_version(val[j]))]
    assert not looks_like(small_version(train[0]), small_version(train[30]))


def on_white(number: int) -> Image.Image:
    """A small thing on white, as products are taken: another place, size and colour each time."""
    random_numbers = np.random.default_rng(number)
    pixels = np.full((96, 96, 3), 255, np.uint8)
    (x, y), side = random_numbers.integers(8, 64, 2), random_numbers.integers(12, 24)
    pixels[y : y + side, x : x + side] = random_numbers.integers(0, 200, 3)
    return Image.fromarray(pixels)


def test_small_things_on_one_background_are_no_duplicates_and_their_versions_are() -> None:
    pictures = [on_white(number) for number in range(40)]
    small = [small_version(picture) for picture in pictures]
    few_levels = [
        (i, j)
        for i in range(40)
        for j in range(i)
        if np.abs(small[i].astype(int) - small[j].astype(int)).mean() <= MAX_DIFFERENCE
    ]
    assert len(few_levels) > 20  # what the levels alone would have said
    assert not [(i, j) for i, j in few_levels if looks_like(small[i], small[j])]
    for picture, own in zip(pictures, small, strict=True):
        file = io.BytesIO()
        picture.resize((200, 200)).save(file, "JPEG", quality=40)
        assert looks_like(own, small_version(decode_image(file.getvalue())))


def test_pictures_that_show_nearly_nothing_are_one_where_encodings_differ_only() -> None:
    grey = np.full((64, 64, 3), 90, np.uint8)
    noisy = grey + np.random.default_rng(0).integers(0, 3, grey.shape, np.uint8)
    assert looks_like(*(small_version(Image.fromarray(pixels)) for pixels in (grey, noisy)))
    marked = grey.copy()
    marked[10:30, 10:30] = 140
    assert not looks_like(*(small_version(Image.fromarray(pixels)) for pixels in (grey, marked)))
