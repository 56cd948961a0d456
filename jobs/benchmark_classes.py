"""How long a dataset of many classes takes from the command to the first edit, and where the seconds go.

python -m jobs.benchmark_classes --classes 10000 [--json]

A folder of small pictures, one to a class, is generated in a temporary place. A fresh process then validates the job on
the embedded model, and expands it until the first batch is edited.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np

from augment.inputs.images import encode_png
from augment.run.batch import DecodedImage, RawEdits
from augment.run.config import load_expand_config
from augment.run.editor import DiffusionEditor, load_editor
from augment.run.expand import expand
from augment.run.validate import validate
from augment.run.worker import Worker
from augment.run.worker_config import WorkerConfig
from augment.types import PlannedSource

EXAMPLE = Path(__file__).parent.parent / "configs" / "expand" / "emoji.yaml"
CONSONANTS, VOWELS = "bcdfghjklmnprstvwz", "aeiou"
SIDE = 64


@dataclass(frozen=True)
class Figures:
    """Seconds of `validate`, and of `expand`: until the plan is written, the models are loaded, a batch is edited."""

    classes: int
    validate_seconds: float
    plan_seconds: float
    load_seconds: float
    batch_seconds: float


class Reached(BaseException):
    """The first batch is edited, and no more is wanted. Not an `Exception`, which would only fail the batch."""


class Stopwatch:
    """Loads the real editor, notes when that begins and ends, and ends the run when a batch is edited."""

    def __init__(self, times: list[float], config: WorkerConfig) -> None:
        times.append(time.perf_counter())
        self._editor: DiffusionEditor = load_editor(config)
        times.append(time.perf_counter())

    def edit(self, batch: Sequence[DecodedImage]) -> list[RawEdits]:
        """Edit a batch and raise Reached."""
        self._editor.edit(batch)
        raise Reached

    @property
    def device_kind(self) -> str:
        """Return what tells devices apart that differ in their memory."""
        return self._editor.device_kind

    def limit_rows(self, rows: int) -> None:
        """Run the models on `rows` images at once from now on."""
        self._editor.limit_rows(rows)

    def aug_ids(self, planned: PlannedSource, sha256: str) -> list[tuple[str, ...]]:
        """Return the ids of a source's edits."""
        return self._editor.aug_ids(planned, sha256)

    def score(self, image: DecodedImage, edits: np.ndarray) -> list[dict[str, float]]:
        """Return the scores of edits that were made before."""
        return self._editor.score(image, edits)


def class_word(number: int) -> str:
    """Return a word of five letters, another one for every number below 145,800."""
    word = ""
    for letters in (CONSONANTS, VOWELS, CONSONANTS, VOWELS, CONSONANTS):
        number, place = divmod(number, len(letters))
        word += letters[place]
    return word


def write_pictures(folder: Path, classes: int) -> Path:
    """Write a picture of its own, of a folder of its own, for each class; return the dataset's folder."""
    random_numbers = np.random.default_rng(0)
    for number in range(classes):
        colours = random_numbers.integers(0, 256, (4, 4, 3), np.uint8)
        path = folder / "data" / class_word(number) / "1.png"
        path.parent.mkdir(parents=True)
        path.write_bytes(encode_png(np.kron(colours, np.ones((SIDE // 4, SIDE // 4, 1), np.uint8))))
    return folder / "data"


def measure(data: Path) -> Figures:
    """Validate and begin a job on a dataset, in this process."""
    times: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        settings = f"input={{path: {data}, format: imagefolder, image_size: {SIDE}}}"
        overrides = [settings, f"output.path={folder}/out", "run={executor: local}"]
        began = time.perf_counter()
        found = validate(EXAMPLE, overrides)
        validated = time.perf_counter()
        assert found.ok, found.problems
        try:
            expand(
                load_expand_config(EXAMPLE, overrides),
                make_worker=partial(Worker, make_editor=partial(Stopwatch, times)),
            )
        except Reached:
            times.append(time.perf_counter())
    loading, loaded, edited = times
    return Figures(
        found.classes,
        *(round(s, 2) for s in (validated - began, loading - validated, loaded - loading, edited - loaded)),
    )


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description="Seconds from the command to the first edit.")
    parser.add_argument("--classes", type=int, default=10_000, help="classes of the generated dataset")
    parser.add_argument("--data", type=Path, help="measure this folder of class folders, in this process")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")
    options = parser.parse_args()
    if options.data:
        figures = asdict(measure(options.data))
    else:
        with tempfile.TemporaryDirectory() as folder:
            data = write_pictures(Path(folder), options.classes)
            # Another process: what generating has read and allocated must not count.
            command = [sys.executable, "-m", "jobs.benchmark_classes", "--data", str(data), "--json"]
            figures = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    print(json.dumps(figures) if options.json else "\n".join(f"{key:18} {value:,}" for key, value in figures.items()))


if __name__ == "__main__":
    main()
