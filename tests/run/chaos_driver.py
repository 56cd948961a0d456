"""The driver of the chaos runs, in a process of its own that can be killed: the real job, the real worker, and an
editor without models that brings disaster. Run as a script, so that its classes reach the workers by value.

python tests/run/chaos_driver.py CONFIG [FOLDER that remembers what has happened]

The environment variable CHAOS_CLOCK sets the clock of the driver, or that of one worker, so many seconds ahead.
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import sys
import time
import zlib
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from augment.ledger.ledger import Ledger
from augment.run.batch import DecodedImage, RawEdits
from augment.run.config import load_expand_config
from augment.run.expand import expand
from augment.run.simulate import SimulatedEditor
from augment.run.worker import Worker
from augment.run.worker_config import WorkerConfig
from augment.types import PlannedSource, UnitReport, UnitTask

CLOCK = "CHAOS_CLOCK"
HANGS = "fox_00246"  # the input whose first worker hangs
POISON = (1, 2, 3)  # colour of the first pixel of an input that segfaults whoever edits it
ROOM = 2  # images that fit into memory at once


class Disaster:
    """A simulated editor with little memory, that poison kills, and that one image in twenty kills once, for nothing.

    One image makes it hang, once. `deaths` is the folder that remembers these; none of them without it.
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
            if self.deaths and mark.name == HANGS and happens_now(mark):
                time.sleep(3600)
            if self.deaths and zlib.crc32(key.encode()) % 20 == 0 and not mark.exists():
                mark.touch()
                os.kill(os.getpid(), signal.SIGKILL)
        return self.editor.edit(batch)


class Unlucky(Worker):
    """A worker that happens to have a full disk under it once, and once the wrong time, if `deaths` is given."""

    def __init__(self, config: WorkerConfig, deaths: str) -> None:
        super().__init__(config, partial(Disaster, deaths=deaths))
        self.deaths = deaths
        if deaths and config.output.startswith("s3://") and happens_now(Path(deaths) / "clock"):
            set_clock_ahead(3600)

    def run_unit(self, task: UnitTask) -> UnitReport:
        # On a disk that all share, a full one ends the run at once; see tests/run/test_outages.py.
        full = self.deaths and self.config.output.startswith("s3://") and task.unit.unit_id.endswith("42")
        if full and happens_now(Path(self.deaths) / f"full_disk_{task.unit.unit_id}"):
            self._ledger = FullDisk(self.config.output)
        try:
            return super().run_unit(task)
        finally:
            self._ledger = Ledger(self.config.output)


class FullDisk(Ledger):
    """A ledger whose parts have no room on this machine."""

    def write_part(self, unit_id: str, samples: Iterable[tuple[str, Mapping[str, bytes]]]) -> tuple[str, str]:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def happens_now(mark: Path) -> bool:
    """Whether nobody has made this mark yet; now it is made."""
    try:
        mark.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def set_clock_ahead(seconds: float) -> None:
    """Set the wall clock of this process ahead."""
    real = time.time
    time.time = lambda: real() + seconds


def main() -> None:
    arguments = sys.argv[1:]
    deaths = arguments[1] if len(arguments) > 1 else ""
    set_clock_ahead(float(os.environ.get(CLOCK, "0")))
    worker = partial(Unlucky, deaths=deaths)
    print("\n".join(expand(load_expand_config(arguments[0]), make_worker=worker).lines()))


if __name__ == "__main__":
    main()
