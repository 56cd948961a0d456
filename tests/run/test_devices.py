"""The places of workers without Ray, on machines with the GPUs that torch is made to find."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from augment.distribute.config import RunConfig, in_one_process
from augment.errors import WorkerError
from augment.ledger.plan import Plan
from augment.run.config import ExpandConfig, load_expand_config
from augment.run.devices import places_here
from augment.run.preview import preview
from augment.run.worker_config import worker_config
from tests.run.runs import CONFIG, overrides

PLAN = Plan({"seed": 0}, (), 0, 0, {0: "fox"})


def places(monkeypatch: pytest.MonkeyPatch, gpus: int, visible: str = "", **run: Any) -> list[str]:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    return places_here(RunConfig(executor="local", **run))


def test_there_is_a_place_on_each_gpu_or_as_many_as_share_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert places(monkeypatch, 3) == ["0", "1", "2"]
    assert places(monkeypatch, 4, num_workers=2) == ["0", "1"]
    assert places(monkeypatch, 2, gpus_per_worker=0.5) == ["0", "1", "0", "1"]
    assert places(monkeypatch, 2, gpus_per_worker=0.5, num_workers=3) == ["0", "1", "0"]


def test_gpus_go_by_the_names_that_the_environment_gives_them(monkeypatch: pytest.MonkeyPatch) -> None:
    assert places(monkeypatch, 2, "5, GPU-3f") == ["5", "GPU-3f"]
    assert places(monkeypatch, 1, "5,99") == ["5"]  # torch stops at a name that it does not find


def test_more_workers_than_gpus_are_not_started(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert places(monkeypatch, 1, num_workers=5) == ["0"]
    assert "run.num_workers is 5, but there is room for 1, 1 on each of 1 GPU(s)" in caplog.text


def test_a_preview_for_every_gpu_is_made_by_one_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its stages are added up, which two workers at a time would spoil."""
    seen: list[ExpandConfig] = []

    class SeenError(Exception):
        """Instead of the job."""

    def expand(config: ExpandConfig, **settings: Any) -> None:
        seen.append(config)
        raise SeenError

    monkeypatch.setattr("augment.run.preview.expand", expand)
    config = load_expand_config(CONFIG, [*overrides(tmp_path), "model.device=cuda:all"])
    assert not in_one_process(config.run, config.model.device)
    with pytest.raises(SeenError):
        preview(config)
    assert in_one_process(seen[0].run, seen[0].model.device)
    assert worker_config(seen[0], PLAN).device == "cuda"


def test_a_machine_without_gpus_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(WorkerError, match=r"model\.device: 'cuda:all': torch finds no GPU on this machine"):
        places(monkeypatch, 0)
