"""The figures of every look at val, sent to what draws curves: TensorBoard, Weights & Biases."""

from __future__ import annotations

import hashlib
import importlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from augment.errors import TrainingError
from augment.training.checkpoint import Row
from augment.training.config import TrainingConfig


class Board(ABC):
    """A log of a run, which goes on where an earlier start of the run has stopped.

    A look at val is logged before the checkpoint that counts it: a run that is killed in between logs it once more.
    """

    @abstractmethod
    def add(self, row: Row) -> None:
        """Log the figures of one look at val."""

    @abstractmethod
    def close(self) -> None:
        """Write what is left."""


class TensorBoard(Board):
    """The folder `tensorboard` of a run.

    Args:
        out: the run's folder.
        step: what an earlier start has logged of later steps no longer counts.
    """

    def __init__(self, out: Path, step: int) -> None:
        tensorboard = importlib.import_module("torch.utils.tensorboard")
        self._writer: Any = tensorboard.SummaryWriter(str(out / "tensorboard"), purge_step=step + 1)

    def add(self, row: Row) -> None:
        for name, value in _figures(row).items():
            self._writer.add_scalar(name, value, row["step"])
        self._writer.flush()  # a checkpoint follows, after which a run that is killed goes on

    def close(self) -> None:
        self._writer.close()


class WeightsAndBiases(Board):
    """A run of Weights & Biases, whose own environment says where: WANDB_PROJECT, WANDB_API_KEY, WANDB_MODE, ...

    Args:
        out: the run's folder, in which the library keeps `wandb`.
        config: settings to show.
        fingerprint: with the folder it names the run, so that a run that goes on does so there too.

    Raises:
        TrainingError: if the library is not installed, or refuses the run.
    """

    def __init__(self, out: Path, config: Mapping[str, Any], fingerprint: Mapping[str, Any]) -> None:
        try:
            wandb: Any = importlib.import_module("wandb")
        except ImportError as error:
            raise TrainingError(
                "log: wandb is not installed: pip install 'rnri-augment[wandb]', or leave it out"
            ) from error
        out.mkdir(parents=True, exist_ok=True)
        named = json.dumps([str(out.absolute()), fingerprint], sort_keys=True)
        run_id = hashlib.sha256(named.encode()).hexdigest()[:16]
        try:
            self._run: Any = wandb.init(dir=str(out), name=out.name, id=run_id, resume="allow", config=dict(config))
        except wandb.Error as error:
            raise TrainingError(
                f"log: Weights & Biases refuses the run: {error}. Set WANDB_API_KEY, or WANDB_MODE=offline to send it "
                "later by `wandb sync`"
            ) from error

    def add(self, row: Row) -> None:
        self._run.log(_figures(row), step=row["step"])

    def close(self) -> None:
        self._run.finish()


def open_boards(config: TrainingConfig, out: Path, step: int, fingerprint: Mapping[str, Any], tell: Any) -> list[Board]:
    """Return the logs that the config asks for.

    Args:
        step: after which the run goes on.
        fingerprint: of the run.
        tell: is told if TensorBoard is not installed; that alone is no error.

    Raises:
        TrainingError: if there can be no log for Weights & Biases.
    """
    boards: list[Board] = []
    if "wandb" in config.log:
        boards.append(WeightsAndBiases(out, config.model_dump(mode="json"), fingerprint))
    if "tensorboard" in config.log:
        try:
            boards.append(TensorBoard(out, step))
        except ImportError:
            tell("no log for TensorBoard, which is not installed: pip install 'rnri-augment[tensorboard]'")
    return boards


def _figures(row: Row) -> dict[str, float]:
    return {name: value for name, value in row.items() if name != "step"}
