"""Marks, tints and companions: exactly where the scene says, and nothing else changes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from augment.tiny.glyphs import CLASSES, sprite
from augment.tiny.marks import MARK_COLOURS, MARKS, Mark, mark_centre, marked_sprite
from augment.tiny.textures import TEXTURE_PAINTERS
from augment.tiny.world import Companion, Scene, render

SCENE = Scene("car", "ocean", "clear", x=32.0, y=36.0, size=40.0, angle=0.0, flip=False, texture_seed=1)
DOT = Mark("dot", "magenta")


pytestmark = pytest.mark.usefixtures("emoji_font")


def mark_place(scene: Scene) -> tuple[float, float]:
    """Centre of what the mark changes in the picture: x and y in pixels."""
    changed = np.abs(render(scene).astype(int) - render(replace(scene, mark=None)).astype(int)).sum(axis=-1)
    assert changed.sum() > 0
    rows, columns = np.mgrid[0:64, 0:64]
    return float((changed * columns).sum() / changed.sum()), float((changed * rows).sum() / changed.sum())


def test_a_mark_moves_with_its_object() -> None:
    scene = replace(SCENE, mark=DOT)
    x, y = mark_place(scene)
    moved = mark_place(replace(scene, x=scene.x + 5, y=scene.y + 3))
    assert moved == pytest.approx((x + 5, y + 3), abs=0.3)


def test_a_mark_flips_with_its_object() -> None:
    scene = replace(SCENE, mark=DOT)
    x, y = mark_place(scene)
    centre = SCENE.x - 0.5  # pixel 0 has its centre at 0, and its left edge at -0.5
    assert abs(x - centre) > 2
    assert mark_place(replace(scene, flip=True)) == pytest.approx((2 * centre - x, y), abs=0.3)


def test_a_mark_turns_with_its_object() -> None:
    scene = replace(SCENE, mark=DOT)
    (x, y), centre = mark_place(scene), np.array([SCENE.x - 0.5, SCENE.y - 0.5])
    turned = np.array(mark_place(replace(scene, angle=15.0))) - centre
    before = np.array([x, y]) - centre
    assert np.linalg.norm(turned) == pytest.approx(np.linalg.norm(before), abs=0.3)
    angle = np.degrees(np.arctan2(turned[1], turned[0]) - np.arctan2(before[1], before[0]))
    assert abs((angle + 180) % 360 - 180) == pytest.approx(15.0, abs=3.0)


@pytest.mark.parametrize("shape", MARKS)
def test_a_mark_is_small_lies_on_the_ink_and_has_its_colour(shape: str) -> None:
    for name in (*CLASSES[::3], "octopus", "crescent moon"):
        plain, marked = (np.asarray(s).astype(int) for s in (sprite(name), marked_sprite(name, Mark(shape, "cyan"))))
        changed = (plain != marked).any(axis=-1)
        assert 0.003 < changed.mean() < 0.09, name
        if shape != "badge":
            np.testing.assert_array_equal(plain[..., 3], marked[..., 3])
            assert (marked[changed][:, :3] == MARK_COLOURS["cyan"]).all()
            x, y = mark_centre(name, shape)
            side = len(plain)
            assert plain[int(y * side), int(x * side), 3] >= 200


def test_a_tint_multiplies_the_object_and_leaves_the_rest() -> None:
    tinted = render(replace(SCENE, tint=(1.0, 0.5, 1.0))).astype(float)
    plain = render(SCENE).astype(float)
    assert np.abs(tinted - plain)[..., [0, 2]].max() <= 1
    inside = np.s_[32:38, 28:36]
    assert (tinted[inside][..., 1] / np.maximum(plain[inside][..., 1], 1)).mean() == pytest.approx(0.5, abs=0.05)
    np.testing.assert_array_equal(tinted[:8], plain[:8])


def test_a_companion_stands_behind_the_object() -> None:
    companion = Companion("apple", x=14.0, y=20.0, size=20.0, angle=0.0, flip=False)
    changed = np.abs(render(replace(SCENE, companion=companion)).astype(int) - render(SCENE)).max(axis=-1) > 8
    rows, columns = np.nonzero(changed)
    assert columns.min() >= 2 and columns.max() <= 14 + 10 + 7 and rows.max() <= 20 + 10 + 7
    hidden = replace(companion, x=SCENE.x, y=SCENE.y + 2, size=12.0)
    assert np.abs(render(replace(SCENE, companion=hidden)).astype(int) - render(SCENE)).mean() < 0.5


@pytest.mark.parametrize("name", TEXTURE_PAINTERS)
def test_textures_are_pictures_in_range_and_vary(name: str) -> None:
    one, again, other = (TEXTURE_PAINTERS[name](np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert one.shape == (64, 64, 3) and one.dtype == np.float32 and 0 <= one.min() <= one.max() <= 1
    np.testing.assert_array_equal(one, again)
    assert np.abs(one - other).mean() > 0.01
    assert Image.fromarray(render(replace(SCENE, background=name))).size == (64, 64)
