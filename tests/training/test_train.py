"""A training run as a whole, at toy size: its report, and that an interrupted one ends as one that was not."""

from __future__ import annotations

import json
import math
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from augment.config import resolved_yaml
from augment.errors import LeakError, ModelError, TrainingError
from augment.storage.tar import write_tar
from augment.training import checkpoint as checkpoint_module
from augment.training import step as step_module
from augment.training.config import TrainingConfig
from augment.training.results import read_predictions
from augment.training.step import learning_rate_at
from augment.training.train import train
from tests.cli.invoke import answer, invoke
from tests.run.runs import ROOT
from tests.training.toy import NAMES, samples, toy_config, write_split

# A machine with one core is told that two reading processes are too many.
pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")


class Stopped(Exception):  # noqa: N818 - it stands for a kill
    """The end of a process, in a test."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The folder and the report of an uninterrupted run."""
    folder = tmp_path_factory.mktemp("whole")
    return folder / "out", train(toy_config(folder), folder / "out")


def figures(report: dict[str, Any]) -> dict[str, Any]:
    """What two runs of one config must have the same, bit for bit; paths and times differ."""
    names = ("history", "val", "test", "best_step", "steps", "samples", "synthetic_samples", "classes")
    return {name: report[name] for name in names}


def stopped(monkeypatch: pytest.MonkeyPatch, config: TrainingConfig, out: Path, step: int) -> None:
    """Run, and end as this step begins."""

    def stopping(optimizer: Any, at: int, steps: int) -> float:
        if at == step:
            raise Stopped
        return learning_rate_at(optimizer, at, steps)

    with monkeypatch.context() as patch:
        patch.setattr(step_module, "learning_rate_at", stopping)
        with pytest.raises(Stopped):
            train(config, out)


def test_the_report_says_what_was_trained_and_what_it_is_worth(whole: tuple[Path, dict[str, Any]]) -> None:
    out, report = whole
    assert json.loads((out / "report.json").read_text()) == report
    assert report["pictures"] == {"real": 24, "synthetic": 18, "val": 18, "test": 12}
    assert (report["steps"], report["samples"], report["synthetic_samples"]) == (10, 80, 20)
    assert [row["step"] for row in report["history"]] == [4, 8, 10]
    assert [c["name"] for c in report["classes"]] == list(NAMES)
    for name, count in (("val", 18), ("test", 12)):
        assert report[name]["n"] == sum(map(sum, report[name]["confusion"])) == count
        assert {(row["by"], row["group"]) for row in report[name]["groups"]} == {
            *(("background", b) for b in ("dark", "light")),
            *(("class", c) for c in NAMES),
        }
        assert report[name]["worst_group"] == min(row["accuracy"] for row in report[name]["groups"])
    best = next(row for row in report["history"] if row["step"] == report["best_step"])
    assert best["val_accuracy"] == max(row["val_accuracy"] for row in report["history"])
    for name in ("accuracy", "loss", "ece", "worst_group"):  # the weights that are kept are those of the best look
        assert report["val"][name] == best[f"val_{name}"]
    files = {p.name for p in out.iterdir()} - {"tensorboard"}
    assert files == {"config.resolved.yaml", "model.safetensors", "predictions.csv", "report.html", "report.json"}
    for name in ("val", "test"):
        rows = read_predictions(out, name)
        assert Counter((row["class_name"], row["predicted"]) for row in rows) == {
            (a, b): n
            for a, counts in zip(NAMES, report[name]["confusion"], strict=True)
            for b, n in zip(NAMES, counts, strict=True)
            if n
        }
        assert len({row["key"] for row in rows}) == report[name]["n"]
        assert all(1 / 3 <= float(row["probability"]) <= 1 for row in rows)
    assert load_file(out / "model.safetensors")["head.weight"].shape == (3, 128)
    page = (out / "report.html").read_text()
    assert "background" in page and page.count("<polyline") == 4


@pytest.mark.parametrize("step", [2, 4, 9])
def test_a_run_that_was_stopped_ends_with_the_same_figures(
    tmp_path: Path, whole: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    config = toy_config(tmp_path)
    stopped(monkeypatch, config, tmp_path / "out", step)
    torch.manual_seed(99)  # another process has another state of the generator
    report = train(config, tmp_path / "out")
    assert figures(report) == figures(whole[1])
    assert (tmp_path / "out/model.safetensors").read_bytes() == (whole[0] / "model.safetensors").read_bytes()


def test_a_run_that_was_stopped_between_its_two_files_ends_the_same(
    tmp_path: Path, whole: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The best weights are written, the checkpoint that counts them is not."""
    config, calls, save = toy_config(tmp_path), [0], torch.save

    def stopping(*arguments: Any) -> None:
        calls[0] += 1
        if calls[0] == 2:
            raise Stopped
        save(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint_module.torch, "save", stopping)
        with pytest.raises(Stopped):
            train(config, tmp_path / "out")
    assert figures(train(config, tmp_path / "out")) == figures(whole[1])


def test_a_network_with_dropout_and_running_statistics_goes_on_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = {"name": "mobilenet_v3_small"}
    config = toy_config(tmp_path, network=network, dtype="float32", steps=4, eval_every=2)
    stopped(monkeypatch, config, tmp_path / "out", 3)
    torch.manual_seed(99)
    report = train(config, tmp_path / "out")
    torch.manual_seed(7)
    assert figures(report) == figures(train(config, tmp_path / "whole"))


@pytest.mark.parametrize("decay", [0.0, 0.5])
def test_what_is_kept_is_the_average_of_the_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, decay: float
) -> None:
    """After steps 0 and 1 the decays are min(decay, (1 + step) / (10 + step)) = 0.1 and 2 / 11, or 0."""
    optimizer = {"ema_decay": decay, "warmup": 0}
    config = toy_config(tmp_path, optimizer=optimizer, eval_every=1, steps=5)
    weights = []
    for step in (1, 2):
        stopped(monkeypatch, config, tmp_path / "out", step)
        saved = torch.load(tmp_path / "out/checkpoint.pt", weights_only=True)
        weights.append((saved["network"]["head.weight"], saved["average"]["head.weight"]))
    (_, first), (now, average) = weights
    share = 2 / 11 if decay else 0.0
    torch.testing.assert_close(average, share * first + (1 - share) * now)


def test_processes_that_decode_change_nothing(tmp_path: Path, whole: tuple[Path, dict[str, Any]]) -> None:
    config = toy_config(tmp_path)
    data = config.data.model_copy(update={"num_workers": 2, "cache_mb": 0})
    assert figures(train(config.model_copy(update={"data": data}), tmp_path / "out")) == figures(whole[1])


def test_a_finished_run_is_left_as_it_is_and_another_one_needs_another_folder(
    tmp_path: Path, whole: tuple[Path, dict[str, Any]]
) -> None:
    out, report = whole
    folder = out.parent
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    (out / "checkpoint.pt").touch()  # as of a run that was killed after its report
    assert train(toy_config(folder), out) == report
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before
    with pytest.raises(TrainingError, match=r"report.json is of a run with other .*\n  steps: 10 there, 11 now"):
        train(toy_config(folder, steps=11), out)


def test_a_checkpoint_of_other_settings_or_pictures_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped(monkeypatch, toy_config(tmp_path), tmp_path / "out", 5)
    with pytest.raises(TrainingError, match=r"checkpoint.pt is of a run with other .*\n  seed: 0 there, 1 now"):
        train(toy_config(tmp_path, seed=1), tmp_path / "out")
    config = toy_config(tmp_path)
    write_split(tmp_path, "test", 5)
    with pytest.raises(TrainingError, match=r"\n  pictures.test: "):
        train(config, tmp_path / "out")
    write_split(tmp_path, "test", 4)
    val = [(key, files | {"json": files["json"].replace(b"dark", b"deep")}) for key, files in samples("val", 6)]
    write_tar(tmp_path / "val.tar", val)  # other groups
    with pytest.raises(TrainingError, match=r"\n  pictures.val: "):
        train(config, tmp_path / "out")
    write_split(tmp_path, "val", 6)
    (tmp_path / "out/checkpoint.pt").write_bytes(b"half")
    with pytest.raises(TrainingError, match=r"checkpoint.pt cannot be read .*; delete it to train from the beginning"):
        train(config, tmp_path / "out")


def test_a_run_does_not_go_on_in_another_arithmetic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on another machine, where `auto` is another dtype."""
    config = toy_config(tmp_path, steps=4, eval_every=2)
    assert config.dtype == "auto"
    monkeypatch.setattr(step_module, "has_bfloat16", lambda device: False)
    stopped(monkeypatch, config, tmp_path / "out", 3)
    with monkeypatch.context() as patch:
        patch.setattr(step_module, "has_bfloat16", lambda device: True)
        with pytest.raises(TrainingError, match="dtype: 'float32' there, 'bfloat16' now"):
            train(config, tmp_path / "out")
    assert train(config, tmp_path / "out")["config"]["dtype"] == "float32"


def test_it_stops_when_val_no_longer_improves(tmp_path: Path) -> None:
    optimizer = {"learning_rate": 1e-12, "ema_decay": 0.0, "warmup": 0}
    config = toy_config(tmp_path, optimizer=optimizer, patience=2, eval_every=1, steps=40, dtype="float32")
    report = train(config, tmp_path / "out")
    assert report["steps"] < 40
    assert report["steps"] == report["history"][-1]["step"] == report["best_step"] + 2


def test_a_loss_that_is_no_number_ends_the_run(tmp_path: Path) -> None:
    optimizer = {"learning_rate": 1e30, "clip_norm": None, "warmup": 0}
    with pytest.raises(TrainingError, match=r"the loss is (nan|inf) at step \d+\. Lower optimizer.learning_rate"):
        train(toy_config(tmp_path, optimizer=optimizer), tmp_path / "out")


def test_a_last_step_that_leaves_no_numbers_ends_the_run_and_is_not_kept(tmp_path: Path) -> None:
    optimizer = {"learning_rate": 1e30, "clip_norm": None, "warmup": 0, "ema_decay": 0.0}
    for _ in range(2):
        with pytest.raises(TrainingError, match=r"answers are no numbers\. Lower optimizer"):
            train(toy_config(tmp_path, optimizer=optimizer, steps=1, dtype="float32"), tmp_path / "out")
        assert not (tmp_path / "out/checkpoint.pt").exists() and not (tmp_path / "out/report.json").exists()


def test_a_run_without_a_height_of_its_learning_rate_says_so(tmp_path: Path) -> None:
    said: list[str] = []
    train(toy_config(tmp_path, optimizer={"warmup": 3}, steps=3), tmp_path / "out", said.append)
    assert "optimizer.warmup is 3 steps, all of this run: its learning rate only rises" in said


def test_leaks_and_unknown_networks_are_said_before_anything_is_written(tmp_path: Path) -> None:
    leaking = toy_config(tmp_path)
    write_split(tmp_path / "again", "val", 6)
    data = leaking.data.model_dump() | {"test": {"path": str(tmp_path / "train.tar")}}
    with pytest.raises(LeakError, match="is the same file as test"):
        train(toy_config(tmp_path, data=data), tmp_path / "out")
    with pytest.raises(ModelError, match="'resnet_18'"):
        train(toy_config(tmp_path, network={"name": "resnet_18"}), tmp_path / "out")
    if not torch.cuda.is_available():
        with pytest.raises(ModelError, match="device: cuda:1: there is no CUDA GPU here"):
            train(toy_config(tmp_path, device="cuda:1"), tmp_path / "out")
    with pytest.raises(ModelError, match="no such file"):
        train(toy_config(tmp_path, network={"weights": str(tmp_path / "w.pth")}), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_learning_rate_rises_and_falls_to_zero(tmp_path: Path) -> None:
    config = toy_config(tmp_path, optimizer={"learning_rate": 1.0, "warmup": 4}).optimizer
    rates = [learning_rate_at(config, step, 12) for step in range(12)]
    assert rates[:5] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert rates[8] == pytest.approx(0.5) and rates[11] == pytest.approx(0.5 * (1 + math.cos(math.pi * 7 / 8)))


def test_the_command_prints_one_object_and_goes_by_its_config(tmp_path: Path) -> None:
    file = tmp_path / "toy.yaml"
    file.write_text(resolved_yaml(toy_config(tmp_path)))
    content = answer("train", file, "--out", tmp_path / "out", "-o", "steps=4")
    assert (content["steps"], content["out"]) == (4, str(tmp_path / "out"))
    assert content["test"]["n"] == 12 and "fingerprint" not in content
    again = invoke("train", file, "--out", tmp_path / "out", "-o", "steps=4")
    assert "test            accuracy " in again.stdout and "report          " in again.stdout
    refused = answer("train", file, "--out", tmp_path / "out", "-o", "steps=5", code=2)
    assert "steps: 4 there, 5 now" in refused["error"]
    misspelt = answer("train", file, "--out", tmp_path / "new", "-o", "augmentation.cutmx=1", code=2)
    assert "did you mean augmentation.cutmix?" in misspelt["error"]


@pytest.mark.slow
def test_killed_runs_end_with_the_same_figures(tmp_path: Path) -> None:
    """Killed twice, by the system, a little after a checkpoint was written."""
    config = toy_config(tmp_path, steps=60, eval_every=5)
    (tmp_path / "toy.yaml").write_text(resolved_yaml(config))
    out = tmp_path / "killed"
    command = [sys.executable, "-m", "augment", "train", str(tmp_path / "toy.yaml"), "--out", str(out)]
    for _ in range(2):
        before = (out / "checkpoint.pt").stat().st_mtime_ns if (out / "checkpoint.pt").exists() else 0
        process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 100
        while time.monotonic() < deadline and process.poll() is None:
            if (out / "checkpoint.pt").exists() and (out / "checkpoint.pt").stat().st_mtime_ns > before:
                break
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    assert not (out / "report.json").exists()
    report = answer("train", tmp_path / "toy.yaml", "--out", out)
    assert report["val"] == train(config, tmp_path / "whole")["val"]
    assert (out / "model.safetensors").read_bytes() == (tmp_path / "whole/model.safetensors").read_bytes()
