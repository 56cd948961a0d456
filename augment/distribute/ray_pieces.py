"""Work of many pieces on Ray: each is done by one worker process, once, after those that it needs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import ray

from augment.distribute.config import RunConfig
from augment.errors import AugmentError, WorkerError

Tell = Callable[[str], None]
_POLL_SECONDS = 1.0


@dataclass(frozen=True)
class Piece:
    """A piece of work.

    Attributes:
        name: unlike any other piece's; a line for people begins with it.
        group: pieces that are waited for together.
        work: does it, in a process that has the driver's working directory. It leaves files, and takes no time if they
            are there; what it returns is not kept.
        needs: names of pieces that must be done before.
        uses_model: whether it needs the device of the model.
    """

    name: str
    group: str
    work: Callable[[], Any]
    needs: tuple[str, ...] = ()
    uses_model: bool = False


class RayPieces:
    """Pieces on a Ray that is there. Those of two groups at most are with it at a time: what is begun is soon whole.

    Args:
        pieces: each comes after those that it needs.
        run: `num_workers` pieces at a time, of `threads_per_worker` CPUs each.
        device: of the model: `cpu`, or `cuda`, of which a piece that uses the model gets one.
        max_failures: times that a piece is begun again whose worker has died.
        tell: called with a line for people when a piece is done.
    """

    def __init__(self, pieces: Iterable[Piece], run: RunConfig, device: str, max_failures: int, tell: Tell) -> None:
        self._of_group: dict[str, list[Piece]] = {}
        for piece in pieces:
            self._of_group.setdefault(piece.group, []).append(piece)
        self._device, self._max_failures, self._tell = device, max_failures, tell
        self._cpus = float(run.threads_per_worker)
        if run.num_workers != "all":  # no more pieces at a time: each gets its share of the CPUs
            self._cpus = max(self._cpus, ray.cluster_resources().get("CPU", 1.0) // run.num_workers)
        self._ends: dict[str, Any] = {}  # by the name of the piece
        self._waiting: dict[Any, Piece] = {}

    def wait(self, group: str) -> None:
        """Return once all pieces of a group are done; those of the next group may have begun.

        Raises:
            AugmentError, OSError: what one of them has raised.
            WorkerError: if the workers of one have died too often.
        """
        groups = list(self._of_group)
        place = groups.index(group)
        for soon in groups[place : place + 2]:
            self._submit(self._of_group[soon])
        left = [self._ends[piece.name] for piece in self._of_group[group]]
        while left:
            done, left = ray.wait(left, timeout=_POLL_SECONDS)
            for end in done:
                self._finish(end)

    def cancel(self) -> None:
        """End the pieces that are at work, and forget those that are not."""
        for end in self._waiting:
            ray.cancel(end, force=True)

    def _submit(self, pieces: Iterable[Piece]) -> None:
        for piece in pieces:
            if piece.name in self._ends:
                continue
            task = ray.remote(_work).options(
                num_cpus=self._cpus,
                num_gpus=1 if piece.uses_model and self._device != "cpu" else 0,
                max_retries=self._max_failures,
                name=piece.name,
            )
            needed = [self._ends[name] for name in piece.needs]
            end = task.remote(piece.work, os.getcwd(), *needed)
            self._ends[piece.name] = end
            self._waiting[end] = piece

    def _finish(self, end: Any) -> None:
        piece = self._waiting.pop(end)
        try:
            ray.get(end)
        except ray.exceptions.RayTaskError as error:
            cause = error.cause
            raise (cause if isinstance(cause, AugmentError | OSError) else error) from error
        except ray.exceptions.RayError as error:
            raise WorkerError(
                f"{piece.name}: the worker has died, and run.max_failures ({self._max_failures}) allows no further "
                f"attempt. The same command goes on with what is left. The last reason: {error}"
            ) from error
        self._tell(f"done: {piece.name}")


def _work(work: Callable[[], Any], folder: str, *needed: None) -> None:
    """Do a piece in a worker; `needed` are there before it begins, which is all they are for."""
    os.chdir(folder)
    work()
