"""A study on Ray: its pieces are done side by side, each by one worker process, then its report is made here."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray
import torch

from augment.distribute.cluster import ray_session
from augment.distribute.config import RunConfig
from augment.distribute.signals import interruptible
from augment.errors import AugmentError, WorkerError
from augment.study.config import StudyConfig, TrackChoice
from augment.study.pieces import Piece, pieces_of
from augment.study.run import Say, check_study, run_study

_POLL_SECONDS = 1.0


def study_on_ray(config: StudyConfig, out: Path, tell: Say = lambda line: None) -> dict[str, Any]:
    """Do a study as `run_study` does, its pieces side by side on the workers of a Ray.

    The figures are those of a study in one process with as many threads as a worker has.

    Args:
        out: a folder that all workers reach by this path.
        tell: called with a line for people when a piece is done.

    Raises:
        AugmentError, OSError: those of a piece.
        WorkerError: if Ray cannot be joined or started, or the workers of a piece have died too often.
        Interrupted: on SIGTERM or SIGINT.
    """
    check_study(config)
    run = RunConfig(
        num_workers=config.run.num_workers,
        address=config.run.address,
        threads_per_worker=config.run.threads_per_worker,
    )
    folder = out.absolute()
    with ray_session(run), interruptible():
        pieces = _Pieces(config, folder, tell)
        try:
            return run_study(config, folder, tell, pieces.wait)
        finally:
            pieces.cancel()


class _Pieces:
    """The pieces of a study on Ray. Those of two tracks at most are with Ray at a time: what is begun is soon whole."""

    def __init__(self, config: StudyConfig, out: Path, tell: Say) -> None:
        self._config, self._tell = config, tell
        self._of_track: dict[TrackChoice, list[Piece]] = {track: [] for track in config.tracks}
        for piece in pieces_of(config, out):
            self._of_track[piece.track].append(piece)
        self._ends: dict[str, Any] = {}  # by the name of the piece
        self._waiting: dict[Any, Piece] = {}
        self._cpus: float = config.run.threads_per_worker
        if config.run.num_workers != "all":  # no more pieces at a time: each gets its share of the CPUs
            self._cpus = max(self._cpus, ray.cluster_resources().get("CPU", 1.0) // config.run.num_workers)

    def wait(self, track: TrackChoice) -> None:
        """Return once all pieces of a track are done. Raises what one of them has raised."""
        place = self._config.tracks.index(track)
        for soon in self._config.tracks[place : place + 2]:
            self._submit(soon)
        left = [self._ends[piece.name] for piece in self._of_track[track]]
        while left:
            done, left = ray.wait(left, timeout=_POLL_SECONDS)
            for end in done:
                self._finish(end)

    def cancel(self) -> None:
        """End the pieces that are at work, and forget those that are not."""
        for end in self._waiting:
            ray.cancel(end, force=True)

    def _submit(self, track: TrackChoice) -> None:
        run, gpu = self._config.run, self._config.model.device != "cpu"
        for piece in self._of_track[track]:
            if piece.name in self._ends:
                continue
            task = ray.remote(_work).options(
                num_cpus=self._cpus,
                num_gpus=1 if gpu and piece.uses_model else 0,
                max_retries=run.max_failures,
                name=piece.name,
            )
            needed = [self._ends[name] for name in piece.needs]
            end = task.remote(piece.work, run.threads_per_worker, os.getcwd(), *needed)
            self._ends[piece.name] = end
            self._waiting[end] = piece

    def _finish(self, end: Any) -> None:
        piece = self._waiting.pop(end)
        try:
            ray.get(end)
        except ray.exceptions.RayTaskError as error:
            raise _cause(error) from error
        except ray.exceptions.RayError as error:
            raise WorkerError(
                f"{piece.name}: the worker has died, and run.max_failures ({self._config.run.max_failures}) allows no "
                f"further attempt. The same command goes on with what is left. The last reason: {error}"
            ) from error
        self._tell(f"done: {piece.name}")


def _work(work: Callable[[], Any], threads: int, folder: str, *needed: None) -> None:
    """Do a piece in a worker; `needed` are there before it begins, which is all they are for."""
    os.chdir(folder)  # paths of the config are relative to the driver's working directory
    torch.set_num_threads(threads)
    work()


def _cause(error: ray.exceptions.RayTaskError) -> BaseException:
    """Return what the piece itself has raised, where it is an error that people can solve."""
    cause = error.cause
    return cause if isinstance(cause, AugmentError | OSError) else error
