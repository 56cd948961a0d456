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
from augment.models.interface import LatentDiffusion
from augment.models.load import load_model
from augment.storage.tar import write_bytes_atomic
from augment.study.arms import ARMS, edit_config
from augment.study.compare import StudyRun, differences_of, group_members, right_predictions, row_of
from augment.study.config import ArmName, StudyConfig
from augment.study.judges import label_judge, label_true
from augment.study.pictures import count_pictures, make_synthetic
from augment.study.plot import study_plots
from augment.study.scored import score_synthetic
from augment.study.tables import study_table
from augment.study.tracks import StudyTrack, write_track
from augment.tiny.world import IMAGE_SIZE
from augment.training.config import CLASS, DataConfig, LeakConfig, PicturesConfig, SyntheticConfig, TrainingConfig
from augment.training.train import train

Say = Callable[[str], None]
# Every picture is rendered or made from seeds of its own. Among so many pictures of the same few scenes, two in fog are
# now and then as alike as two versions of one picture: that is no leak. Equal files, and edits of pictures of val or
# test, are refused as everywhere.
LEAKS = LeakConfig(near_duplicates=False)
GROUPS = ("background", CLASS)  # what divides test into groups, of which the worst counts


def run_study(config: StudyConfig, out: Path, tell: Say = lambda line: None) -> dict[str, Any]:
    """Do the study, or what is left of it, and return the content of its report.json.

    Every training run has its own folder, `out`/runs/TRACK/ARM/seed-N, and its own report there. `report.json`,
    `report.md` and the plots are written after every track.

    Args:
        tell: called with a line for people now and then.

    Raises:
        FileNotFoundError: if there is no emoji font to render with.
        ModelError: if the model cannot be loaded, or cannot run the settings of an arm; before anything is made.
        TrainingError: if the folder holds runs with other settings.
    """
    model = load_model(config.model)
    for arm in config.arms:
        if maker := ARMS[arm].maker:
            checked_schedule(model, edit_config(maker, config.editing), "editing")
    report: dict[str, Any] = {
        "config": config.model_dump(mode="json"),
        "model": model.model_id,
        "revision": model.revision,
        "tracks": {},
        "judges": {},
        "rows": [],
        "differences": [],
    }
    for place, name in enumerate(config.tracks, start=1):
        tell(f"track {place} of {len(config.tracks)}: {name}")
        track = write_track(name, config, out)
        _do_track(track, config, model, out, report, tell)
        _write(report, out)
    return report


def training_config(
    track: StudyTrack, arm: ArmName, seed: int, config: StudyConfig, pictures: Path | None
) -> TrainingConfig:
    """Return the settings of one run.

    Args:
        pictures: folder of the arm's synthetic pictures, if it has any.
    """
    real, val, test = (PicturesConfig(path=str(track.tar(split))) for split in ("train", "val", "test"))
    synthetic = SyntheticConfig(path=str(pictures), ratio=config.synthetic_ratio) if pictures else None
    data = DataConfig(real=real, synthetic=synthetic, val=val, test=test, groups=GROUPS, image_size=IMAGE_SIZE)
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


def _do_track(
    track: StudyTrack, config: StudyConfig, model: LatentDiffusion, out: Path, report: dict[str, Any], tell: Say
) -> None:
    """Make the pictures of a track, train all its arms, and add what came out to the report."""
    report["tracks"][track.name] = {"pictures": track.counts, "folder": track.folder.relative_to(out).as_posix()}
    runs: list[StudyRun] = []
    for arm in config.arms:
        pictures, edits, label = None, 0, None
        if maker := ARMS[arm].maker:
            tell(f"{track.name}: pictures of {maker}")
            pictures = make_synthetic(track, maker, config, model, out)
            if scored := ARMS[arm].scored:
                pictures = score_synthetic(track, pictures, config, keep_all=scored == "scored")
            judge = label_judge(track.spec.kind, config.judge, out)
            report["judges"][track.spec.kind] = judge.of_renders.named("label_true")
            edits, label = count_pictures(pictures), label_true(pictures, judge)
        of_arm = []
        for seed in range(config.seeds):
            folder = out / "runs" / track.name / arm / f"seed-{seed}"
            done = train(training_config(track, arm, seed, config, pictures), folder)
            of_arm.append(StudyRun(track.name, arm, seed, folder, done["test"], right_predictions(folder)))
            shares = f"accuracy {done['test']['accuracy']:.1%}, worst group {done['test']['worst_group']:.1%}"
            tell(f"{track.name}: {arm}, seed {seed}: {shares}")
        row = row_of(of_arm, edits, label, out)
        row["pictures"] = pictures.relative_to(out).as_posix() if pictures else ""
        report["rows"].append(row)
        runs += of_arm
    report["differences"] += differences_of(runs, group_members(track.tar("test"), GROUPS))


def _write(report: dict[str, Any], out: Path) -> None:
    write_bytes_atomic(out / "report.md", study_table(report).encode())
    for name, content in study_plots(report).items():
        write_bytes_atomic(out / name, content)
    write_bytes_atomic(out / "report.json", (json.dumps(report, indent=2, allow_nan=False) + "\n").encode())
