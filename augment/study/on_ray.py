"""A study on Ray: its pieces are done side by side, each by one worker process, then its report is made here."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
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
    with ray_session(run), interruptible(), _submitted(config, folder) as waiting:

        def wait(track: TrackChoice) -> None:
            _wait(waiting, track, config.run.max_failures, tell)

        return run_study(config, folder, tell, wait)


@contextmanager
def _submitted(config: StudyConfig, out: Path) -> Iterator[dict[Any, Piece]]:
    """Hand all pieces to Ray, and yield them by the reference of their end; those not done in the end are cancelled."""
    gpu = config.model.device != "cpu"
    threads = config.run.threads_per_worker
    ends: dict[str, Any] = {}
    waiting: dict[Any, Piece] = {}
    try:
        for piece in pieces_of(config, out):
            task = ray.remote(_work).options(
                num_cpus=threads,
                num_gpus=1 if gpu and piece.uses_model else 0,
                max_retries=config.run.max_failures,
                name=piece.name,
            )
            ends[piece.name] = end = task.remote(piece.work, threads, os.getcwd(), *(ends[n] for n in piece.needs))
            waiting[end] = piece
        yield waiting
    finally:
        for end in waiting:
            ray.cancel(end, force=True)


def _work(work: Callable[[], Any], threads: int, folder: str, *needed: None) -> None:
    """Do a piece in a worker; `needed` are there before it begins, which is all they are for."""
    os.chdir(folder)  # paths of the config are relative to the driver's working directory
    torch.set_num_threads(threads)
    work()


def _wait(waiting: Mapping[Any, Piece], track: TrackChoice, max_failures: int, tell: Say) -> None:
    """Return once all pieces of a track are done. Raises what one of them has raised."""
    left = [end for end, piece in waiting.items() if piece.track == track]
    while left:
        done, left = ray.wait(left, timeout=_POLL_SECONDS)
        for end in done:
            piece = waiting[end]
            try:
                ray.get(end)
            except ray.exceptions.RayTaskError as error:
                raise _cause(error) from error
            except ray.exceptions.RayError as error:
                raise WorkerError(
                    f"{piece.name}: the worker has died, and run.max_failures ({max_failures}) allows no further "
                    f"attempt. The same command goes on with what is left. The last reason: {error}"
                ) from error
            tell(f"done: {piece.name}")


def _cause(error: ray.exceptions.RayTaskError) -> BaseException:
    """Return what the piece itself has raised, where it is an error that people can solve."""
    cause = error.cause
    return cause if isinstance(cause, AugmentError | OSError) else error
