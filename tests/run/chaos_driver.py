"""The driver of the chaos runs, in a process of its own that can be killed: the real job, the real worker, and an
editor without models that brings disaster. Run as a script, so that its classes reach the workers by value.

python tests/run/chaos_driver.py CONFIG [FOLDER that remembers deaths]
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import zlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from augment.run.batch import DecodedImage, RawEdits
from augment.run.config import load_expand_config
from augment.run.expand import expand
from augment.run.simulate import SimulatedEditor
from augment.run.worker import Worker
from augment.run.worker_config import WorkerConfig
from augment.types import PlannedSource

POISON = (1, 2, 3)  # colour of the first pixel of an input that segfaults whoever edits it
ROOM = 2  # images that fit into memory at once


class Disaster:
    """A simulated editor with little memory, that poison kills, and that one image in twenty kills once, for nothing.

    `deaths` is the folder that remembers these; none of them without it.
    """

    def __init__(self, config: WorkerConfig, deaths: str) -> None:
        self.editor, self.deaths = SimulatedEditor(config, seconds_per_batch=(0.01,)), deaths

    device_kind = "simulated"

    def limit_rows(self, rows: int) -> None:
        self.editor.limit_rows(rows)

    def aug_ids(self, planned: PlannedSource, sha256: str) -> list[tuple[str, ...]]:
        return self.editor.aug_ids(planned, sha256)

    def score(self, image: DecodedImage, edits: np.ndarray) -> list[dict[str, float]]:
        return self.editor.score(image, edits)

    def edit(self, batch: Sequence[DecodedImage]) -> list[RawEdits]:
        if len(batch) > ROOM:
            raise RuntimeError("CUDA out of memory")
        if any(np.array_equal(image.pixels[0, 0], POISON) for image in batch):
            ctypes.string_at(0)  # a segmentation fault
        for key in (image.planned.source.key for image in batch):
            mark = Path(self.deaths) / key.replace("/", "_")
            if self.deaths and zlib.crc32(key.encode()) % 20 == 0 and not mark.exists():
                mark.touch()
                os.kill(os.getpid(), signal.SIGKILL)
        return self.editor.edit(batch)


def main() -> None:
    arguments = sys.argv[1:]
    deaths = arguments[1] if len(arguments) > 1 else ""
    worker = partial(Worker, make_editor=partial(Disaster, deaths=deaths))
    print("\n".join(expand(load_expand_config(arguments[0]), make_worker=worker).lines()))


if __name__ == "__main__":
    main()
