"""TIFF files in which 0 is white are no negatives, whatever their number of bits."""

from __future__ import annotations

import numpy as np
import pytest

from augment.inputs.fit import Fit
from augment.inputs.images import decode_image
from augment.inputs.masks import decode_mask
from tests.malformed import tiff, tiff_data_at

WHITE_IS_ZERO, BLACK_IS_ZERO = 0, 1
LIGHT = np.array([[1.0, 0.75, 0.5, 0.0]] * 2)


def grey_tiff(values: np.ndarray, photometric: int | None, more: dict[int, tuple[int, int]] | None = None) -> bytes:
    kind = 3 if values.dtype.kind == "f" else 1
    tags = {256: (4, values.shape[1]), 257: (4, values.shape[0]), 258: (3, values.itemsize * 8), 259: (3, 1)}
    tags |= {277: (3, 1), 278: (4, values.shape[0]), 279: (4, values.nbytes), 339: (3, kind)} | (more or {})
    if photometric is not None:
        tags[262] = (3, photometric)
    return tiff(tags | {273: (4, tiff_data_at(len(tags) + 1))}, values.tobytes())


def stored(kind: str, light: np.ndarray, white: float) -> np.ndarray:
    return (light * white).astype(kind)


@pytest.mark.parametrize(("kind", "white"), [("<u1", 255), ("<u2", 65535), ("<f4", 1.0)])
def test_zero_is_white_where_the_file_says_so(kind: str, white: float) -> None:
    negative = decode_image(grey_tiff(stored(kind, 1 - LIGHT, white), WHITE_IS_ZERO))
    picture = decode_image(grey_tiff(stored(kind, LIGHT, white), BLACK_IS_ZERO))
    np.testing.assert_allclose(np.asarray(picture)[..., 0], LIGHT * 255, atol=1)
    np.testing.assert_allclose(np.asarray(negative)[..., 0], LIGHT * 255, atol=1)


def test_white_is_what_the_file_says_in_a_negative_too() -> None:
    values = stored("<u2", 1 - LIGHT, 4095)
    picture = decode_image(grey_tiff(values, WHITE_IS_ZERO, {281: (3, 4095)}))
    np.testing.assert_allclose(np.asarray(picture)[..., 0], LIGHT * 255, atol=1)


def test_deep_grey_that_does_not_say_is_black_at_zero() -> None:
    picture = decode_image(grey_tiff(stored("<u2", LIGHT, 65535), None))
    np.testing.assert_allclose(np.asarray(picture)[..., 0], LIGHT * 255, atol=1)


def test_a_deep_mask_keeps_what_is_white() -> None:
    mask = grey_tiff(stored("<u2", np.tile(1 - LIGHT, (2, 1)), 65535), WHITE_IS_ZERO)
    picture = grey_tiff(np.zeros((4, 4), np.uint8), BLACK_IS_ZERO)
    kept = decode_mask(mask, Fit("stretch", 4), picture)
    np.testing.assert_allclose(kept[0, :, 0], LIGHT[0] * 255, atol=1)
