"""The rendered splits of emoji world that ship with the package, and how the three main ones were made.

`train` is small and biased: nearly every picture of a class has the class's home background, so a classifier can learn
the background instead of the object. `val` and `test` are balanced over classes, backgrounds and conditions, and so
show it. That is the situation augmentation is for.

A record's picture and caption depend on its split and its place in it alone. Neighbouring records have different
classes, so the first N records of a split are as balanced as N allows. `wide_splits.py` has the smaller splits.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from augment.inputs.images import encode_png
from augment.storage.tar import write_tar
from augment.tiny.captions import caption
from augment.tiny.wide_splits import WIDE_SPLITS, render_wide_split
from augment.tiny.world import (
    BACKGROUNDS,
    CLASSES,
    CONDITIONS,
    Scene,
    render,
    sample_scene,
)

PER_CLASS: dict[str, int] = {"train": 24, "val": 20, "test": 20}
SPLITS: tuple[str, ...] = tuple(PER_CLASS)
HOME_BACKGROUND: dict[str, str] = {
    "fox": "snow",
    "owl": "mountains",
    "penguin": "snow",
    "fish": "ocean",
    "turtle": "mountains",
    "butterfly": "meadow",
    "elephant": "desert",
    "frog": "forest",
    "car": "city",
    "bus": "city",
    "rocket": "wall",
    "sailboat": "ocean",
    "apple": "meadow",
    "pizza": "wall",
    "mushroom": "forest",
    "cactus": "desert",
}  # each background is the home of two classes


def split_path(name: str) -> Path:
    """Return the path of a shipped split's tar. Raises ValueError for a name of no split."""
    if name not in (*SPLITS, *WIDE_SPLITS):
        raise ValueError(f"unknown split {name!r}; the embedded world has {', '.join((*SPLITS, *WIDE_SPLITS))}")
    return Path(__file__).parent / "data" / f"{name}.tar"


def render_split(name: str, limit: int | None = None) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Render the records of a split, as pairs of key and files (`png`, `cls`, `txt`, `json`).

    Args:
        name: `train`, `val` or `test`, or one of `WIDE_SPLITS`.
        limit: only the first so many records.
    """
    split_path(name)  # refuses an unknown name
    if name in WIDE_SPLITS:
        yield from render_wide_split(name, limit)
        return
    total = PER_CLASS[name] * len(CLASSES)
    for index in range(total if limit is None else min(limit, total)):
        # Three words with the last not zero: no seed [run, i] of a training scene can give the same numbers.
        rng = np.random.default_rng([0, index, 1 + SPLITS.index(name)])
        scene = _scene(name, index, rng)
        details = {
            "class_name": scene.object,
            "object": scene.object,
            "background": scene.background,
            "condition": scene.condition,
            "seed": scene.texture_seed,
        }
        yield (
            f"{name}_{index:04d}",
            {
                "png": encode_png(render(scene), optimize=True),
                "cls": str(CLASSES.index(scene.object)).encode(),
                "txt": caption(scene.object, scene.background, scene.condition, rng).encode(),
                "json": json.dumps(details, sort_keys=True).encode(),
            },
        )


def write_splits(folder: Path | str) -> dict[str, int]:
    """Render every split into `folder`/<split>.tar. Returns the number of records of each."""
    return {name: write_tar(Path(folder) / f"{name}.tar", render_split(name)) for name in (*SPLITS, *WIDE_SPLITS)}


def _scene(name: str, index: int, rng: np.random.Generator) -> Scene:
    place, class_index = divmod(index, len(CLASSES))  # index of the picture within its class, and the class
    word = CLASSES[class_index]
    if name == "train":
        background = HOME_BACKGROUND[word]
        # One stray picture per class, placed so that the strays have every condition equally often.
        if place == PER_CLASS[name] - 1 - class_index - class_index // len(CONDITIONS):
            background = [b for b in BACKGROUNDS if b != background][class_index % (len(BACKGROUNDS) - 1)]
        condition = CONDITIONS[(place + class_index) % len(CONDITIONS)]
    else:
        # Counting class by class, backgrounds turn over every 8 pictures and conditions shift by one each time: every
        # pair of background and condition occurs equally often, and every class has each as often as 20 allows.
        count = class_index * PER_CLASS[name] + place
        background = BACKGROUNDS[count % len(BACKGROUNDS)]
        condition = CONDITIONS[(count + count // len(BACKGROUNDS)) % len(CONDITIONS)]
    return sample_scene(rng, object=word, background=background, condition=condition)
