"""What a training run leaves behind: report.json, report.html, predictions.csv and the weights."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import save
from torch import nn

from augment.config import resolved_yaml
from augment.inputs.images import decode_image, encode_png
from augment.inputs.readers import read_bytes
from augment.report.contact_sheet import Tile, contact_sheet
from augment.report.training import training_page
from augment.storage.tar import write_bytes_atomic
from augment.training.config import TrainingConfig
from augment.training.data import TrainingSets
from augment.training.look import Looked

WRONG_SHOWN, COLUMNS = 24, 6
PREDICTIONS = "predictions.csv"


def read_report(out: Path) -> dict[str, Any] | None:
    """Return the report of a finished run; None if it is not finished."""
    try:
        report = json.loads((out / "report.json").read_text())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return report if isinstance(report, dict) and "fingerprint" in report else None


def write_results(
    out: Path, about: dict[str, Any], network: nn.Module, sets: TrainingSets, val: Looked, test: Looked | None
) -> dict[str, Any]:
    """Write the files of a finished run, `report.json` last, and return its content.

    Args:
        about: what the report says of the run itself.
        network: with the weights that were chosen.
        val, test: the looks at them with these weights.
    """
    classes = [{"label": label, "name": name} for label, name in zip(sets.labels, sets.class_names, strict=True)]
    report = about | {"classes": classes, "val": val.figures, "test": test.figures if test else None}
    weights = {key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()}
    write_bytes_atomic(out / "model.safetensors", save(weights))
    config = TrainingConfig.model_validate(about["config"])
    write_bytes_atomic(out / "config.resolved.yaml", resolved_yaml(config).encode())
    page = training_page(report, _sheet_of_wrong("test" if test else "val", test or val, sets.class_names))
    write_bytes_atomic(out / "report.html", page.encode())
    write_bytes_atomic(out / PREDICTIONS, _predictions({"val": val, "test": test}, sets.class_names).encode())
    write_bytes_atomic(out / "report.json", (json.dumps(report, indent=2, allow_nan=False) + "\n").encode())
    return report


def read_predictions(out: Path, split: str) -> list[dict[str, str]]:
    """Return the rows of a finished run's predictions.csv that are of `val` or `test`, in the order of the pictures."""
    with (out / PREDICTIONS).open(newline="") as file:
        return [row for row in csv.DictReader(file) if row["split"] == split]


def _predictions(looks: dict[str, Looked | None], names: tuple[str, ...]) -> str:
    """Return a row for each picture: its key, its class, the predicted class and the probability of that."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["split", "key", "class_name", "predicted", "probability"])
    for split, looked in looks.items():
        if looked is not None:
            predicted = looked.probabilities.argmax(axis=1)
            for i, (source, target) in enumerate(zip(looked.sources, looked.targets, strict=True)):
                probability = f"{looked.probabilities[i, predicted[i]]:.6f}"
                writer.writerow([split, source.key, names[target], names[predicted[i]], probability])
    return buffer.getvalue()


def _sheet_of_wrong(where: str, looked: Looked, names: tuple[str, ...]) -> bytes:
    """Return the pictures that the network got wrong, the most confident first, as a PNG; b"" if there are none."""
    predicted, confidence = looked.probabilities.argmax(axis=1), looked.probabilities.max(axis=1)
    wrong = np.flatnonzero(predicted != looked.targets)
    shown = wrong[np.argsort(-confidence[wrong], kind="stable")][:WRONG_SHOWN]
    tiles = [
        Tile(
            encode_png(np.asarray(decode_image(read_bytes(looked.sources[i])))),  # as it was looked at
            f"{names[looked.targets[i]]}, taken for {names[predicted[i]]} ({confidence[i]:.0%})",
        )
        for i in shown
    ]
    rows = [tiles[start : start + COLUMNS] for start in range(0, len(tiles), COLUMNS)]
    title = f"{where}: {len(shown)} of the {len(wrong)} pictures that it got wrong, the most confident first"
    return contact_sheet(rows, title, headings=()) if rows else b""
