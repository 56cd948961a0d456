"""Commands that train on what was made."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from augment.cli.output import AsJson, Overrides, live_display, messages, show, warn
from augment.errors import AugmentError


def train(
    config: Annotated[Path, typer.Argument(help="YAML config, for example configs/train_classifier/emoji.yaml")],
    out: Annotated[
        Path | None, typer.Option("--out", help="folder for the report and the weights; out/train/NAME of CONFIG.yaml")
    ] = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Train a classifier on real and synthetic pictures, and say what it is worth. Run it again and it goes on.

    Accuracy, worst group, each class, calibration and confusion on val and test, with 95 % intervals. It refuses to
    train on pictures of val or test, and on edits of them.
    """
    with messages(as_json):
        from augment.config import load_config
        from augment.storage.local_store import check_local_folder
        from augment.training.config import TrainingConfig
        from augment.training.launcher import launched_rank
        from augment.training.train import train as train_here

        folder = out if out is not None else Path("out") / "train" / config.stem
        loaded = load_config(config, TrainingConfig, overrides or [])
        check_local_folder(folder, "--out")
        warn(loaded.run.ignored(), as_json)
        with _first_speaks():
            if loaded.run.executor == "ray":
                from augment.distribute.ray_train import train_on_ray

                report = train_on_ray(train_here, loaded, folder, _tell)
            else:
                report = train_here(loaded, folder, _tell)
        if launched_rank() > 0:
            return
        content = {"out": str(folder), **{k: v for k, v in report.items() if k not in ("fingerprint", "history")}}
        show(content, _lines(folder, report), as_json)


def study(
    config: Annotated[Path, typer.Argument(help="YAML config, for example configs/study/emoji.yaml")],
    out: Annotated[Path, typer.Option("--out", help="folder for the pictures, the runs and report.json")],
    quick: Annotated[
        bool, typer.Option("--quick", help="few tracks, arms and seeds: the config's section `quick`")
    ] = False,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Train with edits of every kind, with classical augmentation and with more real pictures, and compare.

    Emoji world in eleven situations, all arms with the same seeds, steps and numbers of synthetic pictures; accuracy,
    worst group and the share of true labels, with 95 % intervals. Needs the emoji font. Run it again and it goes on.
    """
    with messages(as_json):
        from augment.config import load_config
        from augment.storage.local_store import check_local_folder
        from augment.study.config import StudyConfig
        from augment.study.tables import study_table

        check_local_folder(out, "--out")
        loaded = load_config(config, StudyConfig, overrides or [])
        settings = loaded.quickened(overrides or []) if quick else loaded
        warn(settings.run.ignored(), as_json)
        if settings.run.executor == "ray":
            from augment.study.on_ray import study_on_ray as do_study
        else:
            from augment.study.run import run_study as do_study
        report = do_study(settings, out, _tell)
        lines = [*study_table(report).splitlines(), "", f"report          {out / 'report.json'}"]
        show({"out": str(out), **{k: v for k, v in report.items() if k != "config"}}, lines, as_json)


def loop(
    config: Annotated[Path, typer.Argument(help="YAML config, for example configs/loop/emoji.yaml")],
    out: Annotated[Path, typer.Option("--out", help="folder for the edits, the rounds and report.json")],
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Train, edit what the classifier is weak at, and train again, until val is no better or the budget is spent.

    Each round chooses classes, images and prompts by what val says, and adds its edits to one output folder. Test is
    read in the end, by the best round. Run it again and it goes on.
    """
    with messages(as_json):
        from augment.loop.config import load_loop_config
        from augment.loop.report import loop_table
        from augment.loop.run import run_loop
        from augment.storage.local_store import check_local_folder

        check_local_folder(out, "--out")
        loaded = load_loop_config(config, overrides or [])
        warn(loaded.train.run.ignored(), as_json)
        report = run_loop(loaded, out, _tell, display=live_display)
        lines = [*loop_table(report), "", f"report          {out / 'report.json'}, {out / 'loop.svg'}"]
        show({"out": str(out), **{k: v for k, v in report.items() if k != "config"}}, lines, as_json)


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


@contextlib.contextmanager
def _first_speaks() -> Iterator[None]:
    """Let the first of the processes that torchrun has started say what they found; the others end as it does."""
    from augment.training.launcher import launched_rank

    try:
        yield
    except (AugmentError, OSError) as error:
        if launched_rank() == 0:
            raise
        raise typer.Exit(error.exit_code if isinstance(error, AugmentError) else AugmentError.exit_code) from error


def _lines(folder: Path, report: dict[str, Any]) -> list[str]:
    """Return what a person reads at the end."""

    def shares(figures: dict[str, Any], name: str) -> str:
        return f"{figures[name]:.1%} ({figures[name + '_low']:.1%} to {figures[name + '_high']:.1%})"

    lines = [f"weights         after step {report['best_step']} of {report['steps']}, the best on val"]
    lines.append(f"synthetic       {report['synthetic_samples']} of {report['samples']} samples")
    for name in ("val", "test"):
        if figures := report[name]:
            lines.append(f"{name:15} accuracy {shares(figures, 'accuracy')}, {figures['n']} pictures")
            lines.append(f"{'':15} worst group {shares(figures, 'worst_group')}: {figures['worst_group_name']}")
            lines.append(f"{'':15} calibration error {figures['ece']:.3f}")
    return [*lines, f"report          {folder / 'report.html'}"]
