"""The models of one worker as its threads use them: one call at a time, and what a call that fails is worth."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np

from augment.errors import DeviceError
from augment.run.batch import DecodedImage, RawEdits, is_out_of_memory
from augment.types import PlannedSource

T = TypeVar("T")


class Editor(Protocol):
    """Makes the edits of a worker."""

    def edit(self, batch: Sequence[DecodedImage]) -> list[RawEdits]:
        """Edit and score a batch; return one result per image, in order."""
        ...

    @property
    def device_kind(self) -> str:
        """Return what tells devices apart that differ in their memory: a name, and bytes."""
        ...

    def limit_rows(self, rows: int) -> None:
        """Run the models on `rows` images at once from now on, and return cached memory to the device."""

    def aug_ids(self, planned: PlannedSource, content: str, /) -> list[tuple[str, ...]]:
        """Return for each edit of a source the ids that it may have, given the hashes of its files (`content_of`)."""
        ...

    def score(self, image: DecodedImage, edits: np.ndarray) -> list[dict[str, float]]:
        """Return the scores of edits that were made before, uint8 [K, H, W, 3]: one for each variant of the source."""
        ...


class Clock:
    """Measures the seconds of each stage of one unit."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
        finally:
            self.add(name, time.monotonic() - began)

    def add(self, name: str, seconds: float) -> None:
        self.seconds[name] = self.seconds.get(name, 0.0) + seconds


@dataclass(frozen=True)
class Failure:
    """Why a batch failed, without the exception, whose traceback would keep the tensors alive."""

    reason: str
    out_of_memory: bool


class ModelCalls:
    """Calls an editor from several threads, one at a time.

    Args:
        editor: the loaded models.
        rows: to which the editor is limited; see `Editor.limit_rows`.
    """

    def __init__(self, editor: Editor, rows: int) -> None:
        self._editor, self._rows = editor, rows
        self._lock = threading.Lock()
        self._free_since: float | None = None  # None before the first call, while the models are loaded

    def aug_ids(self, planned: PlannedSource, content: str) -> list[tuple[str, ...]]:
        """Return `Editor.aug_ids`, which needs no model."""
        return self._editor.aug_ids(planned, content)

    def call(self, call: Callable[[Editor], T], rows: int, clock: Clock) -> T | Failure:
        """Return what a call gives with the models on `rows` images at once, or why it failed.

        Raises:
            DeviceError: if the device is broken; this process should end.
        """
        with clock.stage("wait"):
            self._lock.acquire()
        if self._free_since is not None:
            clock.add("idle", time.monotonic() - self._free_since)
        try:
            with clock.stage("model"):
                if rows != self._rows:
                    self._rows = rows
                    self._editor.limit_rows(rows)
                return call(self._editor)
        except Exception as error:  # a model may raise anything; what it is worth is decided here
            if is_out_of_memory(error):
                return Failure("out of memory with a single image", out_of_memory=True)
            if "CUDA error" in str(error):
                raise DeviceError(str(error)) from None  # sticky: every later CUDA call of this process would fail too
            return Failure(f"{type(error).__name__}: {error}", out_of_memory=False)
        finally:
            self._free_since = time.monotonic()
            self._lock.release()
