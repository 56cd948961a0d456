"""Training on workers of a real Ray Train: as one process trains, and what happens when workers fail."""

from __future__ import annotations

import errno
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from augment.distribute.ray_train import train_on_ray
from augment.errors import TrainingError, WorkerError
from augment.training.config import TrainingConfig
from augment.training.train import train
from tests.training.as_one import assert_same_but_for_rounding
from tests.training.toy import toy_config

pytest.importorskip("ray.train", reason="needs ray[train]")
# Ray Data, which Ray Train imports, warns about its own settings.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:ray", "ignore::FutureWarning:ray")
ON_TWO = {"executor": "ray", "num_workers": 2}


def leave_a_pid_and(folder: Path) -> Path:
    """Return a file of this process's own in a folder, for each attempt another."""
    path = folder / f"attempt-{os.environ['RANK']}-{os.getpid()}"
    path.touch()
    return path


def has_no_room(config: TrainingConfig, out: Path, tell: Any) -> dict[str, Any]:
    raise OSError(errno.ENOSPC, "No space left on device", str(out / "checkpoint.pt"))


def is_refused(config: TrainingConfig, out: Path, tell: Any) -> dict[str, Any]:
    leave_a_pid_and(out)
    raise TrainingError("the loss is nan at step 3")


def dies(config: TrainingConfig, out: Path, tell: Any) -> dict[str, Any]:
    """The second worker is killed after some steps, at the first attempt."""
    leave_a_pid_and(out)
    if os.environ["RANK"] == "1" and len(list(out.glob("attempt-1-*"))) == 1:
        import threading

        def wait_for_the_checkpoint() -> None:
            while not (out / "checkpoint.pt").exists():
                time.sleep(0.01)
            os.kill(os.getpid(), signal.SIGKILL)

        threading.Thread(target=wait_for_the_checkpoint, daemon=True).start()
    return train(config, out, tell)


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(600)
def test_two_workers_train_as_one_process(ray_session: Any, tmp_path: Path) -> None:
    config = toy_config(tmp_path, dtype="float32", batch_size=7, run=ON_TWO)
    lines: list[str] = []
    report = train_on_ray(train, config, tmp_path / "two", lines.append)
    assert report["val"]["n"] == 18 and sum("step 10/10" in line for line in lines) == 1
    assert not (tmp_path / "two/ray_train").exists()
    train(config, tmp_path / "one")
    assert_same_but_for_rounding(tmp_path / "two", tmp_path / "one")


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(600)
def test_a_killed_worker_is_started_again_and_goes_on_from_the_checkpoint(ray_session: Any, tmp_path: Path) -> None:
    config = toy_config(tmp_path, dtype="float32", steps=200, eval_every=5, run=ON_TWO | {"max_failures": 1})
    lines: list[str] = []
    (tmp_path / "two").mkdir()
    train_on_ray(dies, config, tmp_path / "two", lines.append)
    assert len(list((tmp_path / "two").glob("attempt-1-*"))) == 2
    assert sum(line.startswith("goes on after step ") for line in lines) == 1
    train_on_ray(train, config, tmp_path / "whole", lines.append)
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("two", "whole")]
    assert weights[0] == weights[1]


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(600)
def test_errors_of_workers_are_the_drivers(ray_session: Any, tmp_path: Path) -> None:
    """What the user can solve comes out as without Ray, and is not tried again unless another attempt may help."""
    config = toy_config(tmp_path, run=ON_TWO | {"max_failures": 0})
    with pytest.raises(OSError, match=r"No space left on device") as raised:
        train_on_ray(has_no_room, config, tmp_path / "full", print)
    assert raised.value.errno == errno.ENOSPC
    again = config.model_copy(update={"run": config.run.model_copy(update={"max_failures": 2})})
    (tmp_path / "out").mkdir()
    with pytest.raises(TrainingError, match=r"the loss is nan at step 3"):
        train_on_ray(is_refused, again, tmp_path / "out", print)
    assert len(list((tmp_path / "out").glob("attempt-*"))) == 2  # one attempt of each worker


def test_torchrun_and_ray_at_once_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(WorkerError, match=r"run.executor is ray, but torchrun has started this process"):
        train_on_ray(train, toy_config(tmp_path, run=ON_TWO), tmp_path / "out", print)
