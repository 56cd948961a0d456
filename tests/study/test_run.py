"""A whole study at toy size: paired and counted exactly, traceable to its runs, and resumed where it was killed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from augment.errors import ConfigError, LeakError, TrainingError
from augment.inputs.readers import list_sources
from augment.study import pieces as pieces_module
from augment.study.arms import ARMS as ALL
from augment.study.config import StudyConfig
from augment.study.run import run_study
from augment.tiny.wide_splits import UNKNOWN_CLASSES
from augment.training.config import TrainingConfig
from augment.training.results import read_predictions
from augment.training.train import train
from tests.cli.invoke import invoke
from tests.run.runs import ROOT
from tests.study.toy_study import toy_study

ARMS = ("none", "text_to_image", "default", "oracle")


class Stopped(Exception):  # noqa: N818 - it stands for a kill
    """The end of a process, in a test."""


def files_of(folder: Path) -> dict[str, bytes]:
    """The files whose content no clock and no path decides."""
    kept = {"predictions.csv", "model.safetensors", "manifest.json", "report.md", "study.svg"}
    return {
        str(p.relative_to(folder)): p.read_bytes()
        for p in folder.rglob("*")
        if p.is_file() and (p.name in kept or p.suffix == ".tar")
    }


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, emoji_font: Path) -> tuple[Path, dict[str, Any]]:
    """The folder and the report of an uninterrupted study of some arms with two seeds."""
    out = tmp_path_factory.mktemp("whole") / "study"
    return out, run_study(toy_study(arms=list(ARMS), seeds=2), out)


def test_arms_are_paired_and_their_synthetic_pictures_as_many(whole: tuple[Path, dict[str, Any]]) -> None:
    out, report = whole
    assert json.loads((out / "report.json").read_text()) == report
    assert [(r["track"], r["arm"], r["seeds"], r["edits"]) for r in report["rows"]] == [
        ("marks", "none", 2, 0),
        *(("marks", arm, 2, 16) for arm in ARMS[1:]),
    ]
    assert [r["label_true"] is None for r in report["rows"]] == [True, False, False, False]
    assert set(report["judges"]) == {"marks"}
    for row in report["rows"]:
        for seed, path in enumerate(row["runs"]):
            assert path == f"runs/marks/{row['arm']}/seed-{seed}"
            run = json.loads((out / path / "report.json").read_text())
            counts = {"real": 8, "synthetic": row["edits"], "val": 8, "test": 16}
            assert (run["pictures"], run["config"]["seed"], run["samples"]) == (counts, seed, 24)
            assert run["synthetic_samples"] == (12 if row["edits"] else 0)
        accuracies = [json.loads((out / p / "report.json").read_text())["test"]["accuracy"] for p in row["runs"]]
        assert row["accuracy"] == pytest.approx(sum(accuracies) / 2)


def test_runs_of_a_seed_differ_in_the_arm_only(whole: tuple[Path, dict[str, Any]]) -> None:
    out, report = whole
    configs = []
    for row in report["rows"]:
        config = json.loads((out / row["runs"][1] / "report.json").read_text())["config"]
        synthetic = config["data"].pop("synthetic")
        assert (synthetic is None) == (row["arm"] == "none")
        assert synthetic is None or synthetic["path"] == str(out / row["pictures"])
        configs.append(config)
    assert all(config == configs[0] for config in configs)


def test_the_difference_over_pictures_is_that_of_the_reports(whole: tuple[Path, dict[str, Any]]) -> None:
    _, report = whole
    of_arm = {row["arm"]: row for row in report["rows"]}
    pairs = {(d["arm"], d["against"]) for d in report["differences"]}
    assert pairs == {(a, b) for a in ARMS for b in ("none", "text_to_image") if a != b}
    for d in report["differences"]:
        expected = of_arm[d["arm"]][d["measure"]] - of_arm[d["against"]][d["measure"]]
        assert d["difference"] == pytest.approx(expected)
        assert d["difference_low"] <= d["difference"] <= d["difference_high"]


@pytest.mark.slow
def test_a_study_that_was_stopped_goes_on_and_ends_the_same(
    tmp_path: Path, whole: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    config, calls, after = toy_study(arms=list(ARMS), seeds=2), list[Path](), 5

    def stopping(settings: TrainingConfig, folder: Path) -> dict[str, Any]:
        calls.append(folder)
        if len(calls) > after:
            raise Stopped
        return train(settings, folder)

    with monkeypatch.context() as patch:
        patch.setattr(pieces_module, "train", stopping)
        with pytest.raises(Stopped):
            run_study(config, tmp_path / "study")
    assert len(list((tmp_path / "study").rglob("seed-*/report.json"))) == after
    report = run_study(config, tmp_path / "study")
    assert report == whole[1]
    assert files_of(tmp_path / "study") == files_of(whole[0])


@pytest.mark.slow
def test_every_recipe_trains_on_the_edits_of_the_default(tmp_path: Path, emoji_font: Path) -> None:
    arms = ["default", *(name for name, arm in ALL.items() if arm.scored or arm.recipe.name != "mix")]
    report = run_study(toy_study(arms=arms, steps=4, min_label_probability=0.0), tmp_path / "study")
    assert [(row["arm"], row["edits"]) for row in report["rows"]] == [(arm, 16) for arm in arms] and len(arms) == 8
    for row in report["rows"]:
        run = json.loads((tmp_path / "study" / row["runs"][0] / "report.json").read_text())
        # Of 32; targeted takes 40 % of one picture of each class, rounded up, and repeated real ones are no edits.
        assert run["synthetic_samples"] == (0 if row["arm"] == "default_repeated_real" else 16)
        assert run["config"]["recipe"] == ALL[row["arm"]].recipe.model_dump(mode="json")


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "begun", ["judges/*/model.safetensors", "pictures/*/default-*/shards", "runs/*/none/seed-1", "runs/*/oracle/seed-0"]
)
def test_a_study_that_was_killed_goes_on_and_ends_the_same(
    tmp_path: Path, whole: tuple[Path, dict[str, Any]], begun: str
) -> None:
    file, out = tmp_path / "study.yaml", tmp_path / "study"
    settings = toy_study(arms=list(ARMS), seeds=2).model_dump(mode="json", exclude_defaults=True)
    file.write_text(json.dumps(settings))
    command = [sys.executable, "-m", "augment", "study", str(file), "--out", str(out)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not list(out.glob(begun)):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (out / "report.json").exists()
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    assert json.loads((out / "report.json").read_text()) == whole[1]
    assert files_of(out) == files_of(whole[0])


def test_other_settings_in_the_same_folder_are_refused(whole: tuple[Path, dict[str, Any]]) -> None:
    with pytest.raises(TrainingError, match=r"steps: 3 there, 4 now"):
        run_study(toy_study(arms=list(ARMS), seeds=2, steps=4), whole[0])


def test_edits_of_test_pictures_are_refused_as_everywhere(
    tmp_path: Path, emoji_font: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The study has no way around the leak guard of training."""
    make = pieces_module.training_config

    def leaking(*arguments: Any) -> TrainingConfig:
        config = make(*arguments)
        return config.model_copy(update={"data": config.data.model_copy(update={"real": config.data.test})})

    monkeypatch.setattr(pieces_module, "training_config", leaking)
    with pytest.raises(LeakError, match="is the same file as test"):
        run_study(toy_study(arms=["none"]), tmp_path / "study")


def test_quick_takes_its_own_section() -> None:
    config = toy_study(quick={"arms": ["none", "oracle"], "steps": 2})
    quick = config.quickened()
    assert (quick.tracks, quick.arms, quick.seeds, quick.steps) == (("bias_95",), ("none", "oracle"), 1, 2)
    assert quick.test_per_class == config.test_per_class and quick.editing == config.editing
    assert config.quickened(["quick.steps=2", "test_per_class=2"]) == quick
    with pytest.raises(ConfigError, match=r"seeds: --quick takes quick.seeds instead") as error:
        config.quickened(["seeds=3", "budget.arms=[default]"])
    assert "budget: --quick has none" in str(error.value)
    shipped = StudyConfig().quickened()
    assert shipped.arms == ("none", "trivial_augment", "default", "oracle")


def test_the_command_prints_the_table_or_the_report(tmp_path: Path, emoji_font: Path) -> None:
    config = toy_study(tracks=["few_shot_5"], arms=["none"], quick={"tracks": ["marks"], "arms": ["none"], "steps": 2})
    file = tmp_path / "study.yaml"
    file.write_text(json.dumps(config.model_dump(mode="json", exclude_defaults=True)))
    ended = invoke("study", file, "--out", tmp_path / "out", "--quick", "--json")
    content = json.loads(ended.stdout)
    assert [(r["track"], r["arm"]) for r in content["rows"]] == [("marks", "none")]
    (tmp_path / "out").rename(tmp_path / "moved")
    (tmp_path / "out").symlink_to("moved")
    again = invoke("study", file, "--out", tmp_path / "out", "--quick", "-o", "run.num_workers=2")
    assert "run.executor is local, which uses no num_workers" in again.stderr
    assert "## marks" in again.stdout and "| `none` | 0 |" in again.stdout


def test_some_tracks_have_more_arms() -> None:
    more = [{"tracks": ["marks", "rare"], "arms": ["oracle"]}, {"tracks": ["marks"], "arms": ["ddim", "none"]}]
    config = toy_study(tracks=["marks", "rare", "unknown"], arms=["none"], more_arms=more)
    assert [config.arms_of(track) for track in config.tracks] == [
        ("none", "ddim", "oracle"),
        ("none", "oracle"),
        ("none",),
    ]
    assert config.quickened().more_arms == ()


@pytest.mark.slow
def test_rare_classes_have_as_many_edits_in_all_and_a_figure_of_their_own(tmp_path: Path, emoji_font: Path) -> None:
    config = toy_study(tracks=["rare"], arms=["none", "default"], train_per_class=2, edits_per_image=1)
    report = run_study(config, tmp_path / "study")
    assert [(row["arm"], row["edits"]) for row in report["rows"]] == [("none", 0), ("default", 48)]
    for row in report["rows"]:
        if row["pictures"]:
            made = list_sources(tmp_path / "study" / row["pictures"] / "shards", "webdataset").sources
            assert Counter(source.label for source in made) == dict.fromkeys(range(24), 2)
            assert len({source.key for source in made}) == 48
        predictions = read_predictions(tmp_path / "study" / row["runs"][0], "test")
        rare = [p["class_name"] == p["predicted"] for p in predictions if p["class_name"] in UNKNOWN_CLASSES[3::4]]
        assert (len(rare), row["rare"]) == (12, sum(rare) / 12) and row["rare_low"] <= row["rare"] <= row["rare_high"]
    assert "rare classes, %" in (tmp_path / "study" / "report.md").read_text()
