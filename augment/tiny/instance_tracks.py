"""What is asked about the instance: scenes with a known truth, what is to change in each, and the ideal result.

Every track has its own scenes, rendered here; none is in a shipped split, and none is what a reader or judge learned
from.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float
from torch import Tensor

from augment.inputs.tensors import to_images
from augment.tiny.captions import canonical_caption, caption
from augment.tiny.wide_splits import MARK_CLASSES, UNKNOWN_CLASSES, class_scene
from augment.tiny.world import BACKGROUNDS, CLASSES, CONDITIONS, Companion, Scene, render, sample_scene

TrackName = Literal["named", "unknown", "marks", "two", "tinted", "small", "condition", "worded"]
TRACKS: tuple[TrackName, ...] = get_args(TrackName)
FIRST_SEED = 30  # last word of the seeds of the first track's scenes


@dataclass(frozen=True)
class Track:
    """N scenes, and for each the scene that an edit should show.

    Attributes:
        name: one of `TRACKS`.
        classes: what the object of each scene is called by whoever recognises it.
        sources, targets: scenes before and after; only the background differs, or only the condition.
        images, ideals: their renders, [N, 3, 64, 64] in -1..1.
        source_prompts, target_prompts: captions of both; those of `unknown` name the scene only, and those of the
            sources of `worded` are in any of the wordings that captions have.
    """

    name: TrackName
    classes: list[str]
    sources: list[Scene]
    targets: list[Scene]
    images: Float[Tensor, "N 3 64 64"]
    ideals: Float[Tensor, "N 3 64 64"]
    source_prompts: list[str]
    target_prompts: list[str]

    def __len__(self) -> int:
        return len(self.sources)


def make_track(name: TrackName, count: int) -> Track:
    """Render the first `count` scenes of a track, and their ideal edits.

    Raises:
        FileNotFoundError: if there is no emoji font to render with.
    """
    classes, sources = [], []
    for i in range(count):
        rng = np.random.default_rng([0, i, FIRST_SEED + TRACKS.index(name)])
        class_name, scene = _SCENES.get(name, _named)(i, rng)
        classes.append(class_name)
        sources.append(scene)
    targets = [_target(name, scene, i) for i, scene in enumerate(sources)]
    return Track(
        name,
        classes,
        sources,
        targets,
        images=to_images(np.stack([render(scene) for scene in sources])),
        ideals=to_images(np.stack([render(scene) for scene in targets])),
        source_prompts=[_source_caption(name, scene, i) for i, scene in enumerate(sources)],
        target_prompts=[_caption(name, scene) for scene in targets],
    )


def _target(name: TrackName, scene: Scene, index: int) -> Scene:
    """Return the scene in another condition for the track of conditions, and on another background for all others."""
    if name == "condition":
        others = [c for c in CONDITIONS if c != scene.condition]
        return replace(scene, condition=others[index % len(others)])
    others = [b for b in BACKGROUNDS if b != scene.background]
    return replace(scene, background=others[index % len(others)])


def _source_caption(name: TrackName, scene: Scene, index: int) -> str:
    if name != "worded":
        return _caption(name, scene)
    rng = np.random.default_rng([0, index, FIRST_SEED + TRACKS.index(name), 1])
    return caption(scene.object, scene.background, scene.condition, rng)


def _caption(name: TrackName, scene: Scene) -> str:
    return canonical_caption(None if name == "unknown" else scene.object, scene.background, scene.condition)


def _named(index: int, rng: np.random.Generator) -> tuple[str, Scene]:
    name = CLASSES[index % len(CLASSES)]
    return name, sample_scene(rng, object=name)


def _unknown(index: int, rng: np.random.Generator) -> tuple[str, Scene]:
    name = UNKNOWN_CLASSES[index % len(UNKNOWN_CLASSES)]
    return name, class_scene(name, rng)


def _marked(index: int, rng: np.random.Generator) -> tuple[str, Scene]:
    name = MARK_CLASSES[index % len(MARK_CLASSES)]
    return name, class_scene(name, rng)


def _two(index: int, rng: np.random.Generator) -> tuple[str, Scene]:
    """Draw a smaller object of another class behind the object, to its left or right."""
    name, scene = _named(index, rng)
    others = [other for other in CLASSES if other != name]
    side = -1.0 if scene.x > 32 else 1.0
    companion = Companion(
        object=others[int(rng.integers(len(others)))],
        x=float(np.clip(scene.x + side * rng.uniform(22, 28), 9, 55)),
        y=float(rng.uniform(20, 44)),
        size=float(rng.uniform(20, 28)),
        angle=float(rng.uniform(-15, 15)),
        flip=bool(rng.random() < 0.5),
    )
    return name, replace(scene, companion=companion)


def _tinted(index: int, rng: np.random.Generator) -> tuple[str, Scene]:
    name, scene = _named(index, rng)
    red, green, blue = (float(v) for v in rng.uniform(0.35, 1.0, 3))
    return name, replace(scene, tint=(red, green, blue))


def _small(index: int, rng: np.random.Generator) -> tuple[str, Scene]:
    name, scene = _named(index, rng)
    x, y, size = float(rng.uniform(14, 50)), float(rng.uniform(22, 48)), float(rng.uniform(18, 26))
    return name, replace(scene, x=x, y=y, size=size)


_SCENES: dict[str, Callable[[int, np.random.Generator], tuple[str, Scene]]] = {
    "unknown": _unknown,
    "marks": _marked,
    "two": _two,
    "tinted": _tinted,
    "small": _small,
}
