"""The places that this machine has for workers without Ray."""

from __future__ import annotations

import logging
import os

import torch

from augment.distribute.config import ALL_GPUS, RunConfig
from augment.distribute.process_workers import VISIBLE_GPUS
from augment.errors import WorkerError

logger = logging.getLogger(__name__)


def places_here(run: RunConfig) -> list[str]:
    """Return a place for each worker on this machine: the GPU that it sees, as in CUDA_VISIBLE_DEVICES.

    Workers are spread over all GPUs that this process sees before two share one.

    Args:
        run: the `run` section.

    Raises:
        WorkerError: if there is no GPU.
    """
    count = torch.cuda.device_count()
    if not count:
        raise WorkerError(
            f"model.device: {ALL_GPUS!r}: torch finds no GPU on this machine; set model.device: cpu, or ask `augment "
            "doctor` why"
        )
    # By the names that torch itself goes by; they may be numbers of the machine, or ids of parts of a GPU.
    names = [name.strip() for name in os.environ.get(VISIBLE_GPUS, "").split(",") if name.strip()]
    gpus = (names or [str(number) for number in range(count)])[:count]
    places = gpus * run.workers_per_gpu
    if run.num_workers == "all":
        return places
    if run.num_workers > len(places):
        logger.warning(
            "run.num_workers is %d, but there is room for %d, %d on each of %d GPU(s)",
            *(run.num_workers, len(places), run.workers_per_gpu, count),
        )
    return places[: run.num_workers]
