"""What a training run goes on from: its whole state after a number of steps, written beside and moved into place."""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from augment.errors import ModelError, TrainingError
from augment.ledger.plan import flatten
from augment.storage.tar import sha256_file, write_bytes_atomic
from augment.training.config import TrainingConfig, WeightedRecipe
from augment.training.data import TrainingSets
from augment.training.edit_records import read_records
from augment.types import Source

Row = dict[str, Any]


@dataclass
class TrainingState:
    """Everything that changes while a run trains.

    Attributes:
        network, average: the weights, and their moving average, which is what is looked at and kept.
        step: optimizer steps done.
        history: a row for each look at val.
        seconds: spent on training and looking, over all starts of the run.
    """

    network: nn.Module
    average: nn.Module
    optimizer: torch.optim.Optimizer
    step: int = 0
    history: list[Row] = field(default_factory=list)
    seconds: float = 0.0


def fingerprint_of(config: TrainingConfig, sets: TrainingSets) -> dict[str, Any]:
    """Return dotted key -> value of everything that a run's figures depend on, the listed pictures as digests.

    A listing tells pictures apart by their names, sizes, classes and attributes; it does not read them.

    Raises:
        InputError: if records of edits cannot be read.
        ModelError: if there is no such file of weights.
    """
    settings = config.model_dump(mode="json")
    for key in ("device", "log", "run"):
        settings.pop(key)
    for key in ("num_workers", "cache_mb"):
        settings["data"].pop(key)
    listed = {name: _digest(getattr(sets, name)) for name in ("real", "synthetic", "val", "test")}
    numbers = [config.recipe.score] if isinstance(config.recipe, WeightedRecipe) else []
    numbers += [soft] if config.data.synthetic and (soft := config.data.synthetic.soft_labels) else []
    if numbers:  # no attributes, so not in the listing
        records = read_records(sets.synthetic)
        said = [[records[edit.place].get(name) for name in numbers] for edit in sets.synthetic]
        listed["records"] = hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
    weights = {}
    if file := config.network.weights:
        if not Path(file).is_file():
            raise ModelError(f"network.weights: {file}: no such file; give a .safetensors or .pth file")
        weights["weights_sha256"] = sha256_file(file)
    return {**flatten(settings), **flatten({"pictures": listed}), **weights}


def _digest(sources: Sequence[Source]) -> str:
    about = [(s.key, s.label, s.size, s.class_name, sorted(s.attributes.items())) for s in sources]
    return hashlib.sha256(json.dumps(about).encode()).hexdigest()


def _placeless(name: str, fingerprint: Mapping[str, Any]) -> Any:
    """Return a setting, of a path of pictures its last part."""
    value = fingerprint.get(name)
    return PurePath(value).name if isinstance(value, str) and re.fullmatch(r"data\.\w+\.path", name) else value


class Checkpoints:
    """The files `checkpoint.pt` and `best-STEP.safetensors` of a run's folder.

    The best weights are written before the checkpoint that counts them, under a name of their own: wherever a run is
    killed, the checkpoint finds the file that it means.

    Args:
        out: the run's folder.
        fingerprint: of `fingerprint_of`; kept as JSON has it.
    """

    def __init__(self, out: Path, fingerprint: Mapping[str, Any]) -> None:
        self._out, self.fingerprint = out, json.loads(json.dumps(fingerprint))

    def check(self, found: Mapping[str, Any], where: str) -> None:
        """Raise TrainingError with the first settings in which another run differs from this one.

        Where pictures lie is no such setting: a folder may have been moved, or be reached by another path. Which they
        are is one, and so is the last part of their path, which for a study has the hash of how they were made.
        """
        names = sorted(found.keys() | self.fingerprint.keys())
        differ = [name for name in names if _placeless(name, found) != _placeless(name, self.fingerprint)]
        if differ:
            shown = [f"{n}: {found.get(n)!r} there, {self.fingerprint.get(n)!r} now" for n in differ[:5]]
            raise TrainingError(
                "\n  ".join(
                    [f"{self._out}: {where} is of a run with other settings or pictures. Choose another --out:", *shown]
                )
            )

    def load(self, state: TrainingState, device: str) -> None:
        """Set the state to the saved one; without a checkpoint leave it as it is.

        Raises:
            TrainingError: if the checkpoint is of a run with other settings, or damaged.
        """
        path = self._out / "checkpoint.pt"
        if not path.exists():
            return
        try:
            saved = torch.load(path, map_location=device, weights_only=True)
        except Exception as error:  # damaged files raise many types
            raise TrainingError(f"{path} cannot be read ({error}); delete it to train from the beginning") from error
        self.check(saved["fingerprint"], path.name)
        state.network.load_state_dict(saved["network"])
        state.average.load_state_dict(saved["average"])
        state.optimizer.load_state_dict(saved["optimizer"])
        state.step, state.history, state.seconds = saved["step"], saved["history"], saved["seconds"]

    def save(self, state: TrainingState, best_step: int) -> None:
        """Write the state; if its last look at val is the best one, its weights too."""
        if best_step == state.step:
            write_bytes_atomic(self._best(best_step), save(_plain(state.average)))
        content = io.BytesIO()
        saved = {name: getattr(state, name).state_dict() for name in ("network", "average", "optimizer")}
        saved |= {"step": state.step, "history": state.history, "seconds": state.seconds}
        torch.save(saved | {"fingerprint": self.fingerprint}, content)
        write_bytes_atomic(self._out / "checkpoint.pt", content.getvalue())
        self._remove_best(but=best_step)

    def best_weights(self, step: int) -> dict[str, Tensor]:
        """Return the weights that `save` kept for this step."""
        return load(self._best(step).read_bytes())

    def clear(self) -> None:
        """Remove the files, which a finished run needs no more."""
        (self._out / "checkpoint.pt").unlink(missing_ok=True)
        self._remove_best()

    def _best(self, step: int) -> Path:
        return self._out / f"best-{step:06d}.safetensors"

    def _remove_best(self, but: int | None = None) -> None:
        for path in self._out.glob("best-*.safetensors"):
            if but is None or path != self._best(but):
                path.unlink(missing_ok=True)


def best_row(history: Sequence[Row], select_by: str) -> Row:
    """Return the row of the best look at val: by the share `select_by`, of equal ones by the lower loss."""
    return max(history, key=lambda row: (row[f"val_{select_by}"], -row["val_loss"]))


def _plain(network: nn.Module) -> dict[str, Tensor]:
    return {key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()}
