"""Moved pictures: exact where they can be, and drawn within what the config allows."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from augment.editing.config import EditConfig, MoveConfig
from augment.editing.moves import Move, draw_move, moved

PICTURE = np.random.default_rng(0).integers(0, 256, (12, 20, 3)).astype(np.uint8)


def test_a_flip_exchanges_left_and_right_and_no_move_changes_nothing() -> None:
    assert moved(PICTURE, Move()) is PICTURE
    np.testing.assert_array_equal(moved(PICTURE, Move(flip=True)), PICTURE[:, ::-1])


@pytest.mark.parametrize("flip", [False, True])
def test_a_shift_by_whole_pixels_is_exact_and_mirrors_what_comes_in(flip: bool) -> None:
    source = PICTURE[:, ::-1] if flip else PICTURE
    found = moved(PICTURE, Move(flip=flip, right=3 / 20, down=-2 / 12))
    np.testing.assert_array_equal(found[:10, 3:], source[2:, :17])
    np.testing.assert_array_equal(found[:10, :3], source[2:, 2::-1])
    np.testing.assert_array_equal(found[10:, 3:], source[:9:-1, :17])


def test_twice_the_size_shows_the_middle_with_every_pixel_between_two() -> None:
    steps = np.repeat(np.arange(0, 200, 10, dtype=np.uint8)[None, :, None], 8, axis=0)  # 20 columns, 0, 10, ..., 190
    found = moved(steps, Move(scale=2.0))[4, :, 0].astype(float)
    np.testing.assert_allclose(found, 50 + 5 * (np.arange(20) - 0.5) - 0.0, atol=0.51)
    half = moved(steps, Move(scale=0.5))[4, :, 0].astype(float)
    np.testing.assert_allclose(half[5:15], 20 * np.arange(10) + 5, atol=0.51)


def test_draws_stay_within_the_config_and_are_those_of_their_seed() -> None:
    config = MoveConfig(flip=0.5, shift=0.1, scale=(0.8, 1.25))
    drawn = [draw_move(config, seed) for seed in range(400)]
    assert drawn == [draw_move(config, seed) for seed in range(400)]
    assert 150 < sum(move.flip for move in drawn) < 250
    assert all(abs(move.right) <= 0.1 and abs(move.down) <= 0.1 and 0.8 <= move.scale <= 1.25 for move in drawn)
    assert abs(np.mean([np.log(move.scale) for move in drawn])) < 0.02  # as often larger as smaller
    assert {draw_move(MoveConfig(), seed) for seed in range(20)} == {Move()}


def test_what_is_no_scale_is_an_error() -> None:
    for scale in ((1.2, 0.8), (0.1, 1.0), (1.0, 5.0)):
        with pytest.raises(ValidationError, match="scale: the least and the largest factor"):
            MoveConfig(scale=scale)
    assert "moves" not in EditConfig().identity()
    assert EditConfig(moves=MoveConfig(flip=0.5)).identity()["moves"]["flip"] == 0.5
