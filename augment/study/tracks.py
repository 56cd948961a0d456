"""The situations of the study: real pictures to train on, to choose by and to test with, and what prompts may name.

Everything is rendered from seeds. A picture depends on its track, its split, its place there and the number of pictures
of a class; no picture is in two splits, in a shipped one, or among those that a judge learns from.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from augment.inputs.images import encode_png
from augment.seeding import seed_for
from augment.storage.tar import write_bytes_atomic, write_tar
from augment.study.config import ALL_TRACKS, StudyConfig, TrackChoice
from augment.tiny.captions import canonical_caption
from augment.tiny.dataset import HOME_BACKGROUND
from augment.tiny.wide_splits import MARK_CLASSES, UNKNOWN_CLASSES, class_scene
from augment.tiny.world import BACKGROUNDS, CLASSES, CONDITIONS, Scene, render
from augment.training.config import CLASS
from augment.types import Source

StudySplit = Literal["train", "val", "test", "oracle"]
STUDY_SPLITS: tuple[StudySplit, ...] = get_args(StudySplit)
RARE_EVERY = 4  # of the tracks with rare classes: the last of so many in turn is one
SCENES_VERSION = 2  # of what `study_scenes` yields for a spec: a folder of other scenes is not taken for these
FIRST_SPLIT_SEED = 60  # third word of the seeds of the first split's scenes
# Which classes there are, by what can be said of them. A judge learns all classes of a kind.
CLASS_KINDS: dict[str, tuple[str, ...]] = {
    "named": CLASSES,
    "marks": MARK_CLASSES,
    "unknown": UNKNOWN_CLASSES,
    "mixed": (*MARK_CLASSES, *UNKNOWN_CLASSES),
}


@dataclass(frozen=True)
class TrackSpec:
    """What the pictures of a track show.

    Attributes:
        kind: of the classes, a key of `CLASS_KINDS`.
        per_class: real pictures of each class to train on.
        home_share: share of them that stand on their class's home background; None: they are balanced.
        rare_share: of the number of pictures of a class, what every fourth class has; None: all have as many.
        backgrounds, conditions: of train and val, and all that a prompt may name.
        test_backgrounds, test_conditions: of test.
    """

    kind: str
    per_class: int
    home_share: float | None = None
    rare_share: float | None = None
    backgrounds: tuple[str, ...] = BACKGROUNDS
    conditions: tuple[str, ...] = CONDITIONS
    test_backgrounds: tuple[str, ...] = BACKGROUNDS
    test_conditions: tuple[str, ...] = CONDITIONS

    @property
    def classes(self) -> tuple[str, ...]:
        """Return the names of the classes, in the order of their labels."""
        return CLASS_KINDS[self.kind]

    def frequency(self, label: int) -> Literal["rare", "common"]:
        """Return whether there are few real pictures of a class."""
        return "rare" if self.rare_share is not None and label % RARE_EVERY == RARE_EVERY - 1 else "common"

    def number_of(self, label: int, per_class: int) -> int:
        """Return how many real pictures to train on a class has, where a common one has `per_class`."""
        if self.rare_share is None or self.frequency(label) == "common":
            return per_class
        return max(1, round(per_class * self.rare_share))

    def home(self, label: int) -> str:
        """Return the background that most pictures of a class stand on, where they are biased."""
        name = self.classes[label]
        shipped = HOME_BACKGROUND.get(name, "") if self.kind == "named" else ""
        return shipped if shipped in self.backgrounds else self.backgrounds[label % len(self.backgrounds)]


TRACK_SPECS: dict[TrackChoice, TrackSpec] = {
    "bias_80": TrackSpec("named", 20, 0.8),
    "bias_95": TrackSpec("named", 20, 0.95),
    "bias_100": TrackSpec("named", 20, 1.0),
    "unseen": TrackSpec(
        "named",
        20,
        backgrounds=BACKGROUNDS[:4],
        conditions=CONDITIONS[:2],
        test_backgrounds=BACKGROUNDS[4:],
        test_conditions=CONDITIONS[2:],
    ),
    "few_shot_5": TrackSpec("named", 5),
    "few_shot_10": TrackSpec("named", 10),
    "few_shot_20": TrackSpec("named", 20),
    "marks": TrackSpec("marks", 10),
    "unknown": TrackSpec("unknown", 10),
    "mixed": TrackSpec("mixed", 20, 0.95),
    "rare": TrackSpec("unknown", 20, rare_share=0.2),
}


@dataclass(frozen=True)
class StudyTrack:
    """A track with its rendered splits.

    Attributes:
        folder: has `train.tar`, `val.tar`, `test.tar`, and `oracle.tar`: as many unbiased pictures as there are edits.
        counts: pictures of each split.
        common_per_class: pictures to train on of each class that is not rare.
    """

    name: TrackChoice
    spec: TrackSpec
    folder: Path
    counts: dict[StudySplit, int] = field(default_factory=dict)
    common_per_class: int = 0

    def tar(self, split: StudySplit) -> Path:
        """Return the path of a split."""
        return self.folder / f"{split}.tar"

    @property
    def groups(self) -> tuple[str, ...]:
        """Return what divides test into groups, of which the worst counts."""
        return ("background", CLASS, *(("frequency",) if self.spec.rare_share is not None else ()))

    def edits_of(self, label: int, edits_per_image: int) -> int:
        """Return the number of edits of each real picture of a class: of all classes together as many edits.

        Args:
            edits_per_image: of each picture of a common class.
        """
        common = self.common_per_class
        return round(edits_per_image * common / self.spec.number_of(label, common))


def word_of(class_name: str) -> str | None:
    """Return the word that prompts have for a class: that of its object, whatever its mark; None if there is none."""
    return None if class_name in UNKNOWN_CLASSES else class_name.partition(" with a ")[0]


def prompt_for(class_name: str, background: str, condition: str) -> str:
    """Return the prompt of a scene with a class in it, in words that the model knows."""
    return canonical_caption(word_of(class_name), background, condition)


def target_scenes(spec: TrackSpec, source: Source, count: int) -> list[tuple[str, str]]:
    """Return the (background, condition) of each synthetic picture of a real one.

    No background is the picture's own, and none comes again before all others were there. The key decides, so every arm
    makes its pictures of the same scenes.
    """
    rng = np.random.default_rng(seed_for("study targets", source.key))
    backgrounds = rng.permutation([b for b in spec.backgrounds if b != source.attributes["background"]]).tolist()
    conditions = rng.permutation(spec.conditions).tolist()
    turns = [divmod(i, len(backgrounds)) for i in range(count)]
    return [(backgrounds[place], conditions[(place + turn) % len(conditions)]) for turn, place in turns]


def study_scenes(name: TrackChoice, split: StudySplit, per_class: int) -> Iterator[tuple[int, Scene]]:
    """Yield label and scene of every picture of a split; neighbours have different classes."""
    spec = TRACK_SPECS[name]
    for index in range(per_class * len(spec.classes)):
        place, label = divmod(index, len(spec.classes))
        if split == "train" and place >= spec.number_of(label, per_class):
            continue
        # Four words with the last not zero: no seed of a shipped split or of the model's training can be the same.
        words = [0, index, FIRST_SPLIT_SEED + STUDY_SPLITS.index(split), 1 + ALL_TRACKS.index(name)]
        background, condition = _scene_of(spec, split, label, place, per_class)
        rng = np.random.default_rng(words)
        yield label, class_scene(spec.classes[label], rng, background=background, condition=condition)


def write_track(name: TrackChoice, config: StudyConfig, out: Path) -> StudyTrack:
    """Render the splits of a track into a folder of `out` that its settings name, or find them there.

    Raises:
        FileNotFoundError: if there is no emoji font to render with.
    """
    spec = TRACK_SPECS[name]
    train = config.train_per_class or spec.per_class
    per_class: dict[StudySplit, int] = {
        "train": train,
        "val": config.val_per_class,
        "test": config.test_per_class,
        "oracle": train * config.edits_per_image,
    }
    identity = [SCENES_VERSION, name, per_class, asdict(spec)]
    digest = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:8]
    counts = {split: n * len(spec.classes) for split, n in per_class.items()}
    counts["train"] = sum(spec.number_of(label, train) for label in range(len(spec.classes)))
    track = StudyTrack(name, spec, out / "tracks" / f"{name}-{digest}", counts, train)
    for split, n in per_class.items():
        if not track.tar(split).exists():
            write_tar(track.tar(split), _records(track, split, n))
    about = {"track": name, "classes": spec.classes, "pictures": counts}
    write_bytes_atomic(track.folder / "track.json", (json.dumps(about, indent=2) + "\n").encode())
    return track


def _scene_of(spec: TrackSpec, split: StudySplit, label: int, place: int, per_class: int) -> tuple[str, str]:
    """Return background and condition of a picture: the `place`-th of its class."""
    if split == "train" and spec.home_share is not None:
        home, conditions = spec.home(label), spec.conditions
        background, at_home = home, round(per_class * spec.home_share)
        if place >= at_home:  # the strays of a class, each on another background
            others = [b for b in spec.backgrounds if b != home]
            background = others[(label + place - at_home) % len(others)]
        return background, conditions[(place + label) % len(conditions)]
    backgrounds, conditions = spec.backgrounds, spec.conditions
    if split == "test":
        backgrounds, conditions = spec.test_backgrounds, spec.test_conditions
    elif split == "oracle":
        backgrounds, conditions = BACKGROUNDS, CONDITIONS
    # Counting class by class, backgrounds turn over and conditions shift by one each time: every pair comes equally
    # often, as far as the number of pictures allows.
    own = spec.number_of(label, per_class) if split == "train" else per_class
    # Rare classes are counted by themselves: among all, each would begin, and with few pictures end, at the same place.
    count = (label // RARE_EVERY if own < per_class else label) * own + place
    turn, background_index = divmod(count, len(backgrounds))
    return backgrounds[background_index], conditions[(count + turn) % len(conditions)]


def _records(track: StudyTrack, split: StudySplit, per_class: int) -> Iterator[tuple[str, dict[str, bytes]]]:
    for index, (label, scene) in enumerate(study_scenes(track.name, split, per_class)):
        name = track.spec.classes[label]
        details = {
            "class_name": name,
            "background": scene.background,
            "condition": scene.condition,
            "seed": scene.texture_seed,
        }
        if track.spec.rare_share is not None:
            details["frequency"] = track.spec.frequency(label)
        yield (
            f"{track.name}_{split}_{index:05d}",
            {
                "png": encode_png(render(scene)),
                "cls": str(label).encode(),
                "txt": prompt_for(name, scene.background, scene.condition).encode(),
                "json": json.dumps(details, sort_keys=True).encode(),
            },
        )
