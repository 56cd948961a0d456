"""Several processes train as one does: started by torchrun, on one machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from augment.config import resolved_yaml
from augment.storage.tar import write_tar
from augment.training.config import TrainingConfig
from augment.training.train import train
from tests.cli.invoke import answer
from tests.run.runs import ROOT
from tests.training.as_one import assert_same_but_for_rounding
from tests.training.toy import samples, toy_config


def write_config(config: TrainingConfig, folder: Path) -> Path:
    (folder / "toy.yaml").write_text(resolved_yaml(config))
    return folder / "toy.yaml"


def torchrun(file: Path, out: Path, *more: str) -> list[str]:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    return [*launcher, "-m", "augment", "train", str(file), "--out", str(out), *more]


def ended(command: list[str]) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=400, check=False)


def assert_two_train_as_one(folder: Path, config: TrainingConfig, atol: float = 1e-4) -> None:
    found = ended(torchrun(write_config(config, folder), folder / "two", "--json"))
    assert found.returncode == 0, found.stderr
    assert json.loads(found.stdout)["steps"] == config.steps  # one object: the other process prints nothing
    assert found.stderr.count(f"step {config.steps}/{config.steps}") == 1
    train(config, folder / "one")
    assert_same_but_for_rounding(folder / "two", folder / "one", atol)


@pytest.mark.slow
def test_two_processes_train_as_one(tmp_path: Path) -> None:
    """With parts of 3 and 4 samples, and every option that draws or pairs."""
    augmentation = {"flip": 0.5, "crop": 0.5, "random_erasing": 0.5, "cutmix": 1.0, "mixup": 0.4}
    assert_two_train_as_one(tmp_path, toy_config(tmp_path, dtype="float32", batch_size=7, augmentation=augmentation))


@pytest.mark.slow
def test_two_processes_train_a_network_with_batch_norms_as_one(tmp_path: Path) -> None:
    changes = {"network": {"name": "resnet18"}, "optimizer": {"learning_rate": 1e-3}}
    # Where a gradient is almost zero, AdamW makes much of its rounding: up to a learning rate in a step.
    assert_two_train_as_one(tmp_path, toy_config(tmp_path, dtype="float32", **changes), atol=1e-3)


@pytest.mark.slow
def test_what_one_process_cannot_read_ends_all_with_one_message(tmp_path: Path) -> None:
    config = toy_config(tmp_path, leaks={"near_duplicates": False}, augmentation={})
    damaged = [(key, files | {"png": files["png"][:60]}) for key, files in samples("train", 8)]
    write_tar(tmp_path / "train.tar", [damaged[0], *samples("train", 8)[1:]])
    found = ended(torchrun(write_config(config, tmp_path), tmp_path / "out"))
    assert found.returncode == 1  # torchrun's own
    assert found.stderr.count("error: ") == 1 and "train_0_00" in found.stderr
    assert "exitcode  : 2" in found.stderr  # of the other, too, unless torchrun has ended it first
    assert not (tmp_path / "out/report.json").exists()


@pytest.mark.slow
@pytest.mark.timeout(1000)
def test_killed_processes_go_on_and_end_with_the_same_figures(tmp_path: Path) -> None:
    """All of them killed by the system, a little after a checkpoint was written."""
    config = toy_config(tmp_path, steps=40, eval_every=5)
    file, out = write_config(config, tmp_path), tmp_path / "killed"
    process = subprocess.Popen(torchrun(file, out), cwd=ROOT, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 100
    while time.monotonic() < deadline and process.poll() is None and not (out / "checkpoint.pt").exists():
        time.sleep(0.02)
    # torchrun's processes are not of its group.
    children = [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
    assert len(children) == 2
    for pid in (process.pid, *children):
        os.kill(pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert (out / "checkpoint.pt").exists() and not (out / "report.json").exists()
    again, whole = ended(torchrun(file, out)), ended(torchrun(file, tmp_path / "whole"))
    assert "goes on after step" in again.stderr and whole.returncode == again.returncode == 0
    weights = [(folder / "model.safetensors").read_bytes() for folder in (out, tmp_path / "whole")]
    assert weights[0] == weights[1]
    assert answer("train", file, "--out", out)["val"] == answer("train", file, "--out", tmp_path / "whole")["val"]
