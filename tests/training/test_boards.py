"""Where curves go: the figures that arrive in each library's own files."""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from augment.errors import TrainingError
from augment.training.train import train
from tests.training.toy import toy_config

BLOCK = 32768  # bytes


def test_tensorboard_has_the_figures_of_every_look(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    report = train(toy_config(tmp_path), tmp_path / "out")
    events = EventAccumulator(str(tmp_path / "out/tensorboard"))
    events.Reload()
    for name in ("val_accuracy", "loss", "learning_rate"):
        found = [(event.step, pytest.approx(event.value)) for event in events.Scalars(name)]
        assert found == [(row["step"], row[name]) for row in report["history"]]


def records(file: Path) -> Iterator[bytes]:
    """The records of a log in LevelDB's format after a header of 7 bytes: blocks of chunks, each with its length."""
    content, place, record = file.read_bytes(), 7, b""
    while place + 7 <= len(content):
        if BLOCK - place % BLOCK < 7:
            place += BLOCK - place % BLOCK
        _, length, kind = struct.unpack("<IHB", content[place : place + 7])
        record += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last of several
            yield record
            record = b""


@pytest.mark.slow
def test_wandb_has_the_figures_of_every_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Offline: what `wandb sync` would send."""
    from wandb.proto import wandb_internal_pb2

    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    report = train(toy_config(tmp_path, log=["wandb"]), tmp_path / "out")
    (file,) = (tmp_path / "out/wandb").glob("offline-run-*/*.wandb")
    rows = list[dict[str, Any]]()
    for data in records(file):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        if record.WhichOneof("record_type") == "history":
            rows.append({item.key or item.nested_key[0]: float(item.value_json) for item in record.history.item})
    assert [row["val_accuracy"] for row in rows] == [row["val_accuracy"] for row in report["history"]]
    assert [row["_step"] for row in rows] == [row["step"] for row in report["history"]]


def test_a_library_that_is_missing_is_said_before_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(TrainingError, match=r"log: wandb is not installed: pip install 'rnri-augment\[wandb\]'"):
        train(toy_config(tmp_path, log=["wandb"]), tmp_path / "out")
    lines: list[str] = []
    train(toy_config(tmp_path, steps=2), tmp_path / "out", lines.append)
    assert sum("no log for TensorBoard, which is not installed" in line for line in lines) == 1
