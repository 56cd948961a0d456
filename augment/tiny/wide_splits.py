"""Small splits about what no caption names: objects without a word, and classes that differ by a mark only.

`unknown_val` and `unknown_test` show held-out glyphs; their captions name the scene. In the `marks` splits every object
is there twice, plain and marked, as two classes, and the caption of both is that of the object. All are balanced over
backgrounds and conditions.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from augment.inputs.images import encode_png
from augment.tiny.captions import caption
from augment.tiny.marks import Mark
from augment.tiny.world import BACKGROUNDS, CONDITIONS, Scene, render, sample_scene

WIDE_PER_CLASS: dict[str, int] = {
    "unknown_val": 4,
    "unknown_test": 4,
    "marks_train": 10,
    "marks_val": 6,
    "marks_test": 6,
}
WIDE_SPLITS: tuple[str, ...] = tuple(WIDE_PER_CLASS)
UNKNOWN_CLASSES: tuple[str, ...] = (
    "giraffe face",
    "octopus",
    "banana",
    "guitar",
    "bicycle",
    "honeybee",
    "doughnut",
    "sunflower",
    "pineapple",
    "koala",
    "tiger",
    "shark",
    "snail",
    "crown",
    "trophy",
    "croissant",
    "hamburger",
    "peacock",
    "teddy bear",
    "accordion",
    "tractor",
    "scooter",
    "bell pepper",
    "umbrella",
)
MARKED_OBJECTS: dict[str, Mark] = {
    "car": Mark("stripe", "white"),
    "apple": Mark("patch", "blue"),
    "turtle": Mark("dot", "magenta"),
    "mushroom": Mark("badge", "black"),
}
MARK_CLASSES: tuple[str, ...] = tuple(
    name for object_, mark in MARKED_OBJECTS.items() for name in (object_, f"{object_} with a {mark.shape}")
)


def render_wide_split(name: str, limit: int | None = None) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Render the records of one of `WIDE_SPLITS`, as pairs of key and files (`png`, `cls`, `txt`, `json`).

    Args:
        limit: only the first so many records.
    """
    classes = UNKNOWN_CLASSES if name.startswith("unknown") else MARK_CLASSES
    total = WIDE_PER_CLASS[name] * len(classes)
    for index in range(total if limit is None else min(limit, total)):
        # Three words, as for the other splits, with a last word that those do not have.
        rng = np.random.default_rng([0, index, 4 + WIDE_SPLITS.index(name)])
        place, label = divmod(index, len(classes))
        # The test pictures of an unknown object stand on other backgrounds than its validation pictures.
        count = label * WIDE_PER_CLASS[name] + place + (4 if name == "unknown_test" else 0)
        background = BACKGROUNDS[count % len(BACKGROUNDS)]
        condition = CONDITIONS[(count + count // len(BACKGROUNDS)) % len(CONDITIONS)]
        scene = class_scene(classes[label], rng, background=background, condition=condition)
        word = None if name.startswith("unknown") else scene.object
        details = {
            "class_name": classes[label],
            "object": scene.object,
            "background": scene.background,
            "condition": scene.condition,
            "mark": scene.mark.shape if scene.mark else "none",
            "seed": scene.texture_seed,
        }
        yield (
            f"{name}_{index:04d}",
            {
                "png": encode_png(render(scene), optimize=True),
                "cls": str(label).encode(),
                "txt": caption(word, scene.background, scene.condition, rng).encode(),
                "json": json.dumps(details, sort_keys=True).encode(),
            },
        )


def class_scene(
    class_name: str, rng: np.random.Generator, *, background: str | None = None, condition: str | None = None
) -> Scene:
    """Draw a scene of one of `UNKNOWN_CLASSES` or `MARK_CLASSES`; whatever is not given is uniform over the world."""
    object_, _, mark = class_name.partition(" with a ")
    scene = sample_scene(rng, object=object_, background=background, condition=condition)
    return replace(scene, mark=MARKED_OBJECTS[object_]) if mark else scene
