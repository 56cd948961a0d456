"""Versions of one picture are found, other pictures of the same kind are not."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from augment.inputs.images import decode_image
from augment.inputs.near_duplicates import MAX_BITS, difference_hash, looks_like, near_pairs
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
        assert looks_like(picture, other)


def test_pictures_of_the_same_kind_are_no_duplicates() -> None:
    train, val = shipped("train", 100), shipped("val", 100)
    pairs = near_pairs([difference_hash(p) for p in train], [difference_hash(p) for p in val])
    assert not [pair for pair in pairs if looks_like(train[pair[0]], val[pair[1]])]
    assert not looks_like(train[0], train[30])
