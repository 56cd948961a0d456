"""The scenes that the embedded model learns from: half of them about objects that it has no word for.

`sample_scene` draws what the splits for users show; `sample_training_scene` adds the glyphs without a word, tints,
marks, second and small objects. Held-out glyphs are in neither.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from augment.tiny.glyphs import glyph_names
from augment.tiny.marks import MARK_COLOURS, MARKS, Mark
from augment.tiny.textures import TEXTURE_PAINTERS
from augment.tiny.world import CLASSES, Companion, Scene, sample_scene

UNNAMED_SHARE = 0.5
TINT_SHARE, MARK_SHARE, COMPANION_SHARE, SMALL_SHARE = 0.15, 0.25, 0.15, 0.15


def sample_training_scene(
    rng: np.random.Generator, *, texture_share: float = 0.0, companion_share: float = COMPANION_SHARE
) -> Scene:
    """Draw a scene with all that the embedded model should be able to show.

    Args:
        companion_share: share of scenes with a second object.
        texture_share: share of scenes in front of a pattern (`textures.py`) instead of a background with a name.
    """
    scene = sample_scene(rng)
    if rng.random() < UNNAMED_SHARE:
        scene = replace(scene, object=_choice(rng, glyph_names("seen")))
    if rng.random() < SMALL_SHARE:
        x, y, size = float(rng.uniform(14, 50)), float(rng.uniform(20, 48)), float(rng.uniform(18, 30))
        scene = replace(scene, x=x, y=y, size=size)
    if rng.random() < TINT_SHARE:
        red, green, blue = (float(v) for v in rng.uniform(0.35, 1.0, 3))
        scene = replace(scene, tint=(red, green, blue))
    if rng.random() < MARK_SHARE:
        scene = replace(scene, mark=Mark(_choice(rng, MARKS), _choice(rng, tuple(MARK_COLOURS))))
    if rng.random() < companion_share:
        scene = replace(scene, companion=_companion(rng))
    if rng.random() < texture_share:
        scene = replace(scene, background=_choice(rng, tuple(TEXTURE_PAINTERS)))
    return scene


def _companion(rng: np.random.Generator) -> Companion:
    names = CLASSES if rng.random() < 1 - UNNAMED_SHARE else glyph_names("seen")
    return Companion(
        object=_choice(rng, names),
        x=float(rng.uniform(8, 56)),
        y=float(rng.uniform(16, 46)),
        size=float(rng.uniform(18, 32)),
        angle=float(rng.uniform(-15, 15)),
        flip=bool(rng.random() < 0.5),
    )


def _choice(rng: np.random.Generator, names: tuple[str, ...]) -> str:
    return names[int(rng.integers(len(names)))]
