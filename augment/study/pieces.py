"""The pieces of a study's work: each is done by one process, once, and leaves what it made in the study's folder.

A piece that is there already takes no time, so the pieces can be done one after the other or side by side, and again
after a kill.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from augment.distribute.ray_pieces import Piece
from augment.models.config import ModelConfig, pinned, pinned_clip
from augment.models.interface import LatentDiffusion
from augment.models.load import load_model
from augment.study.arms import ARMS
from augment.study.budget import fewer_pictures
from augment.study.compare import StudyRun, rare_classes, right_predictions
from augment.study.config import ArmName, JudgeConfig, StudyConfig, TrackChoice
from augment.study.corruptions import corrupted_accuracy
from augment.study.judges import LabelJudge, label_judge
from augment.study.pictures import make_synthetic
from augment.study.scored import score_synthetic
from augment.study.tracks import TRACK_SPECS, StudyTrack, write_track
from augment.tiny.world import IMAGE_SIZE
from augment.training.config import DataConfig, LeakConfig, PicturesConfig, SyntheticConfig, TrainingConfig
from augment.training.step import decided_dtype
from augment.training.train import train

# Every picture is rendered or made from seeds of its own. Among so many pictures of the same few scenes, two in fog are
# now and then as alike as two versions of one picture: that is no leak. Equal files, and edits of pictures of val or
# test, are refused as everywhere.
LEAKS = LeakConfig(near_duplicates=False)


@dataclass(frozen=True)
class Point:
    """One place in the comparison: an arm of a track.

    Attributes:
        fewer: synthetic pictures of each real one, where these are fewer than the study's; None: as many.
    """

    track: TrackChoice
    arm: ArmName
    fewer: float | None = None

    @property
    def name(self) -> str:
        """Return the name of the point's folder of runs."""
        return self.arm if self.fewer is None else f"{self.arm}-{self.fewer:g}"


def decided(config: StudyConfig) -> StudyConfig:
    """Return the settings with the dtype that `auto` is here, and the models' exact weights: all runs have the same.

    Raises:
        ModelError: if there is no such model.
    """
    models = {"model": pinned(config.model), "clip": pinned_clip(config.clip)}
    return config.model_copy(update={"dtype": decided_dtype(config.dtype, "cpu"), **models})


def points_of(track: TrackChoice, config: StudyConfig) -> list[Point]:
    """Return the points of a track, those with fewer edits last."""
    fewer = [Point(track, arm, count) for arm, count in config.budgets_of(track)]
    return [Point(track, arm) for arm in config.arms_of(track)] + fewer


def pieces_of(config: StudyConfig, out: Path) -> Iterator[Piece]:
    """Yield the pieces of a study; each comes after those that it needs."""
    begun: set[str] = set()

    def new(piece: Piece) -> Iterator[Piece]:
        if piece.name not in begun:
            begun.add(piece.name)
            yield replace(piece, work=functools.partial(_on_threads, config.run.threads_per_worker, piece.work))

    for name in config.tracks:
        track = f"{name}: real pictures"
        yield from new(Piece(track, name, functools.partial(write_track, name, config, out)))
        for point in points_of(name, config):
            needed, arm = [track], ARMS[point.arm]
            if arm.maker:
                kind = TRACK_SPECS[name].kind
                yield from new(Piece(f"judge of {kind}", name, functools.partial(study_judge, kind, config.judge, out)))
                work = functools.partial(point_pictures, point, config, out)
                # All that is made of a maker's pictures needs them whole, so they are a piece by themselves.
                whole = next(a for a in ARMS if ARMS[a].maker == arm.maker and not ARMS[a].scored)
                made = functools.partial(point_pictures, Point(name, whole), config, out)
                pictures = f"{name}: pictures of {arm.maker}"
                yield from new(Piece(pictures, name, made, (track,), uses_model=True))
                needed.append(pictures)
                if arm.scored or point.fewer is not None:
                    taken = f"{pictures}, {arm.scored or 'all'}, {point.fewer or config.edits_per_image:g} of each"
                    yield from new(Piece(taken, name, work, tuple(needed)))
                    needed.append(taken)
            for seed in range(config.seeds):
                trained = functools.partial(train_point, point, seed, config, out)
                yield from new(Piece(f"{name}: {point.name}, seed {seed}", name, trained, tuple(needed)))


def point_pictures(point: Point, config: StudyConfig, out: Path) -> Path | None:
    """Make the synthetic pictures of a point, as far as they are not there, and return their folder, if it has any."""
    arm, track = ARMS[point.arm], write_track(point.track, config, out)
    if arm.maker is None:
        return None
    pictures = make_synthetic(track, arm.maker, config, functools.partial(study_model, config.model), out)
    if arm.scored:
        pictures = score_synthetic(track, pictures, config, keep_all=arm.scored == "scored")
    if point.fewer is not None:
        pictures = fewer_pictures(pictures, config.edits_per_image, point.fewer)
    return pictures


def train_point(point: Point, seed: int, config: StudyConfig, out: Path) -> StudyRun:
    """Do a training run of a point, or find it done, and return what came out."""
    track, pictures = write_track(point.track, config, out), point_pictures(point, config, out)
    folder = out / "runs" / point.track / point.name / f"seed-{seed}"
    settings = training_config(track, point.arm, seed, config, pictures)
    test = train(settings, folder)["test"]
    corrupted = corrupted_accuracy(settings, folder).named("corrupted")
    figures = {**test, **corrupted, **rare_classes(test)}
    return StudyRun(point.track, point.arm, seed, folder, figures, right_predictions(folder))


def training_config(
    track: StudyTrack, arm: ArmName, seed: int, config: StudyConfig, pictures: Path | None
) -> TrainingConfig:
    """Return the settings of one run.

    Args:
        pictures: folder of the arm's synthetic pictures, if it has any.
    """
    real, val, test = (PicturesConfig(path=str(track.tar(split))) for split in ("train", "val", "test"))
    synthetic = SyntheticConfig(path=str(pictures), ratio=config.synthetic_ratio) if pictures else None
    data = DataConfig(real=real, synthetic=synthetic, val=val, test=test, groups=track.groups, image_size=IMAGE_SIZE)
    return TrainingConfig(
        data=data,
        leaks=LEAKS,
        network=config.network,
        recipe=ARMS[arm].recipe,
        augmentation=ARMS[arm].augmentation,
        optimizer=config.optimizer,
        steps=config.steps,
        batch_size=config.train_batch_size,
        eval_every=config.eval_every,
        select_by=config.select_by,
        dtype=config.dtype,
        seed=seed,
    )


@functools.cache
def study_model(config: ModelConfig) -> LatentDiffusion:
    """Return the model of a study; a process loads it once."""
    return load_model(config)


@functools.cache
def study_judge(kind: str, config: JudgeConfig, out: Path) -> LabelJudge:
    """Return the judge of a kind of classes; a process loads and tests it once."""
    return label_judge(kind, config, out)


def _on_threads(threads: int, work: Callable[[], Any]) -> None:
    torch.set_num_threads(threads)
    work()
