"""The renderer: pure, deterministic, and every attribute visible in the picture."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from augment.tiny.backgrounds import BACKGROUND_PAINTERS
from augment.tiny.glyphs import FONT_PATHS, find_font, sprite
from augment.tiny.world import (
    BACKGROUNDS,
    CLASSES,
    CONDITIONS,
    IMAGE_SIZE,
    Scene,
    render,
    sample_scene,
)

SCENE = Scene("fox", "wall", "clear", x=30.0, y=36.0, size=36.0, angle=0.0, flip=False, texture_seed=1)


def difference(one: Scene, other: Scene) -> np.ndarray:
    """Largest difference of a channel at each pixel, [64, 64]."""
    return np.abs(render(one).astype(int) - render(other).astype(int)).max(axis=-1)


def test_the_world_is_as_large_as_it_should_be() -> None:
    assert (len(set(CLASSES)), len(set(BACKGROUNDS)), len(set(CONDITIONS))) == (16, 8, 4)


def test_giving_an_attribute_leaves_the_others_as_drawn() -> None:
    free = sample_scene(np.random.default_rng(5))
    fixed = sample_scene(np.random.default_rng(5), object="bus", background="city", condition="fog")
    assert fixed == replace(free, object="bus", background="city", condition="fog")


def test_free_scenes_cover_the_world_evenly() -> None:
    scenes = [sample_scene(np.random.default_rng([9, i])) for i in range(3200)]
    for attribute, names in (("object", CLASSES), ("background", BACKGROUNDS), ("condition", CONDITIONS)):
        drawn = [getattr(scene, attribute) for scene in scenes]
        expected = len(scenes) / len(names)
        for name in names:  # five standard deviations
            assert abs(drawn.count(name) - expected) < 5 * np.sqrt(expected)


@pytest.mark.parametrize("name", BACKGROUNDS)
def test_backgrounds_are_pictures_in_range_and_vary(name: str) -> None:
    paint = BACKGROUND_PAINTERS[name]
    one, again, other = (paint(np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert one.shape == (IMAGE_SIZE, IMAGE_SIZE, 3) and one.dtype == np.float32
    assert one.min() > -0.1 and one.max() < 1.1  # smooth noise may overshoot a little; `render` cuts it off
    np.testing.assert_array_equal(one, again)
    assert np.abs(one - other).mean() > 0.01


def test_a_missing_font_names_the_package_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("augment.tiny.glyphs.FONT_PATHS", ("/no/such/font.ttf",))
    with pytest.raises(FileNotFoundError, match="apt-get install fonts-noto-color-emoji"):
        find_font()
    assert len(FONT_PATHS) == 3


@pytest.mark.usefixtures("emoji_font")
def test_rendering_is_a_function_of_the_scene() -> None:
    first = render(SCENE)
    render(replace(SCENE, object="bus", condition="snowfall"))
    assert first.shape == (64, 64, 3) and first.dtype == np.uint8
    np.testing.assert_array_equal(first, render(SCENE))


@pytest.mark.usefixtures("emoji_font")
def test_every_object_has_a_sprite_of_its_own() -> None:
    sprites = {sprite(name).tobytes() for name in CLASSES}
    assert len(sprites) == len(CLASSES)
    assert all(min(sprite(name).size) > 80 for name in CLASSES)


@pytest.mark.usefixtures("emoji_font")
def test_the_object_is_where_the_scene_says_and_as_large() -> None:
    changed = difference(SCENE, replace(SCENE, object="apple")) > 8
    rows, columns = np.nonzero(changed)
    half = SCENE.size / 2 + 7  # the shadow reaches a little further
    assert SCENE.x - half < columns.min() and columns.max() < SCENE.x + half
    assert SCENE.y - half < rows.min() and rows.max() < SCENE.y + half
    assert np.ptp(columns) > 0.8 * SCENE.size and np.ptp(rows) > 0.8 * SCENE.size


@pytest.mark.usefixtures("emoji_font")
def test_a_turn_by_a_whole_circle_and_a_move_by_whole_pixels() -> None:
    assert difference(SCENE, replace(SCENE, angle=360.0)).max() <= 1
    flat = replace(SCENE, background="ocean")
    moved = difference(flat, replace(flat, x=flat.x + 40))
    assert moved[20:50, 14:46].mean() > 20 and moved[:, :8].max() == 0


@pytest.mark.usefixtures("emoji_font")
@pytest.mark.parametrize("change", [{"flip": True}, {"angle": 12.0}, {"texture_seed": 2}, {"size": 31.0}])
def test_every_field_changes_the_picture(change: dict[str, object]) -> None:
    assert difference(SCENE, replace(SCENE, **change)).mean() > 1.0  # type: ignore[arg-type]


@pytest.mark.usefixtures("emoji_font")
def test_conditions_do_what_they_say() -> None:
    clear, night, fog, snowfall = (render(replace(SCENE, condition=name)).astype(float) for name in CONDITIONS)
    assert night.mean() < 0.6 * clear.mean()
    assert fog.std() < 0.8 * clear.std() and fog.mean() > clear.mean()
    assert (snowfall.min(axis=-1) > 210).sum() > (clear.min(axis=-1) > 210).sum() + 50
