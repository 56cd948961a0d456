"""A study on Ray: its pieces are done side by side, each by one worker process, then its report is made here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from augment.distribute.cluster import ray_session
from augment.distribute.config import RunConfig
from augment.distribute.ray_pieces import RayPieces
from augment.distribute.signals import interruptible
from augment.study.config import StudyConfig
from augment.study.pieces import decided, pieces_of
from augment.study.run import Say, check_study, run_study


def study_on_ray(config: StudyConfig, out: Path, tell: Say = lambda line: None) -> dict[str, Any]:
    """Do a study as `run_study` does, its pieces side by side on the workers of a Ray.

    The figures are those of a study in one process with as many threads as a worker has.

    Args:
        out: a folder that all workers reach by this path.
        tell: called with a line for people when a piece is done.

    Raises:
        AugmentError, OSError: those of a piece.
        WorkerError: if Ray cannot be joined or started, no machine of it can take a piece, or the workers of one have
            died too often.
        Interrupted: on SIGTERM or SIGINT.
    """
    config = decided(config)  # here, for all machines
    check_study(config)
    run = RunConfig(
        num_workers=config.run.num_workers,
        address=config.run.address,
        threads_per_worker=config.run.threads_per_worker,
    )
    folder = out.absolute()
    with ray_session(run), interruptible():
        pieces = RayPieces(pieces_of(config, folder), run, config.model.device, config.run.max_failures, tell)
        try:
            return run_study(config, folder, tell, pieces.wait)
        finally:
            pieces.cancel()
