"""`augment study`: what is trained with edits of every kind, with classical augmentation and with more real pictures.

Every arm of a track is trained by `augment.training.train` with the same real pictures, the same seeds and as many
optimizer steps; those with synthetic pictures have equally many at the same ratio. Val alone chooses the checkpoint.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from augment.editing.inverted import checked_schedule
from augment.errors import ConfigError
from augment.storage.tar import write_bytes_atomic
from augment.study.arms import ARMS, edit_config
from augment.study.compare import StudyRun, differences_of, group_members, row_of
from augment.study.config import StudyConfig, TrackChoice
from augment.study.judges import label_true
from augment.study.pictures import count_pictures
from augment.study.pieces import (
    Point,
    decided,
    point_pictures,
    points_of,
    study_judge,
    study_model,
    train_point,
)
from augment.study.plot import study_plots
from augment.study.tables import study_table
from augment.study.tracks import TRACK_SPECS, write_track

Say = Callable[[str], None]
Wait = Callable[[TrackChoice], None]


def run_study(
    config: StudyConfig, out: Path, tell: Say = lambda line: None, wait: Wait = lambda track: None
) -> dict[str, Any]:
    """Do the study, or what is left of it, and return the content of its report.json.

    Every training run has its own folder, `out`/runs/TRACK/ARM/seed-N, and its own report there. `report.json`,
    `report.md` and the plots are written after every track.

    Args:
        tell: called with a line for people now and then.
        wait: called with a track before its report is made; returns once other processes have done what they do of it.

    Raises:
        FileNotFoundError: if there is no emoji font to render with.
        ModelError: if the model cannot be loaded, or cannot run the settings of an arm; before anything is made.
        TrainingError: if the folder holds runs with other settings.
    """
    config = decided(config)
    report, out = _empty(config), out.absolute()  # runs note their paths: the same from any executor
    for place, name in enumerate(config.tracks, start=1):
        tell(f"track {place} of {len(config.tracks)}: {name}")
        wait(name)
        _do_track(name, config, out, report, tell)
        _write(report, out)
    return report


def check_study(config: StudyConfig) -> None:
    """Look for what would end the study later.

    Raises:
        ConfigError: if the budget has an arm that cannot have fewer synthetic pictures.
        ModelError: if the model cannot be loaded, or cannot run the settings of an arm.
    """
    for arm in config.budget.arms if config.budget else ():
        if ARMS[arm].maker is None:
            raise ConfigError("the study", [f"budget.arms: {arm} has no synthetic pictures, so no fewer; leave it out"])
        if ARMS[arm].scored == "filtered":
            raise ConfigError("the study", [f"budget.arms: {arm} has what a score leaves, not a number; leave it out"])
    model = study_model(config.model)
    for arm in {arm: None for name in config.tracks for arm in config.arms_of(name)}:
        if maker := ARMS[arm].maker:
            checked_schedule(model, edit_config(maker, config.editing), "editing")


def _empty(config: StudyConfig) -> dict[str, Any]:
    """Return the report of a study of which nothing is done."""
    check_study(config)
    model = study_model(config.model)
    return {
        "config": config.model_dump(mode="json"),
        "model": model.model_id,
        "revision": model.revision,
        "tracks": {},
        "judges": {},
        "rows": [],
        "differences": [],
        "budget": [],
    }


def _do_track(name: TrackChoice, config: StudyConfig, out: Path, report: dict[str, Any], tell: Say) -> None:
    """Make the pictures of a track, train all its arms, and add what came out to the report."""
    track = write_track(name, config, out)
    report["tracks"][name] = {"pictures": track.counts, "folder": track.folder.relative_to(out).as_posix()}
    runs: list[StudyRun] = []
    for point in points_of(name, config):
        row, of_point = _row(point, config, out, report, tell)
        if point.fewer is None:
            report["rows"].append(row)
            runs += of_point
        else:
            report["budget"].append(row)
    report["differences"] += differences_of(runs, group_members(track.tar("test"), track.groups))


def _row(
    point: Point, config: StudyConfig, out: Path, report: dict[str, Any], tell: Say
) -> tuple[dict[str, Any], list[StudyRun]]:
    """Return the row of a point and its runs; the report gets the judge that looked at its pictures."""
    if maker := ARMS[point.arm].maker:
        tell(f"{point.track}: pictures of {maker}")
    pictures, edits, label = point_pictures(point, config, out), 0, None
    if pictures is not None:
        kind = TRACK_SPECS[point.track].kind
        judge = study_judge(kind, config.judge, out)
        report["judges"][kind] = judge.of_renders.named("label_true")
        edits, label = count_pictures(pictures), label_true(pictures, judge)
    runs = []
    for seed in range(config.seeds):
        run = train_point(point, seed, config, out)
        runs.append(run)
        shares = f"accuracy {run.test['accuracy']:.1%}, worst group {run.test['worst_group']:.1%}"
        tell(f"{point.track}: {point.name}, seed {seed}: {shares}")
    row = row_of(runs, edits, label, out)
    return row | {"pictures": pictures.relative_to(out).as_posix() if pictures else ""}, runs


def _write(report: dict[str, Any], out: Path) -> None:
    write_bytes_atomic(out / "report.md", study_table(report).encode())
    for name, content in study_plots(report).items():
        write_bytes_atomic(out / name, content)
    write_bytes_atomic(out / "report.json", (json.dumps(report, indent=2, allow_nan=False) + "\n").encode())
