"""The Ray that a run uses: one of its own, or a cluster that is there; and how many workers that can hold."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator, Mapping
from typing import Any

import ray

from augment.distribute.config import RunConfig
from augment.errors import WorkerError

logger = logging.getLogger(__name__)


def usable_workers(run: RunConfig, device: str, resources: Mapping[str, float]) -> int:
    """How many workers to ask of a Ray with these resources; on GPUs, one each.

    A number is asked for even if the cluster has fewer now: what cannot be placed yet makes an autoscaler add machines.

    Raises:
        WorkerError: if they need GPUs, and this machine alone, which cannot grow, has none.
    """
    gpu = device.startswith("cuda")
    have = int(resources.get("GPU" if gpu else "CPU", 0))
    if run.address == "local" and gpu:
        if have == 0:
            raise WorkerError(
                f"model.device is {device!r}, but Ray has no GPU; set model.device: cpu, or run.address to a cluster "
                "that has GPUs"
            )
        if run.num_workers != "all" and have < run.num_workers:
            logger.warning("run.num_workers is %d, but Ray has %d GPU(s): one worker on each", run.num_workers, have)
            return have
    if run.num_workers != "all":
        return run.num_workers
    return have if gpu else max(1, have // run.threads_per_worker)


@contextlib.contextmanager
def ray_session(run: RunConfig) -> Iterator[None]:
    """Join or start a Ray, and leave it as it was found."""
    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # otherwise Ray warns about a coming default
    options: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    if run.address == "local":
        wanted = 0 if run.num_workers == "all" else run.num_workers
        options |= {
            # Nothing goes through the object store, and its default share of memory is not always there.
            "object_store_memory": 100 * 2**20,
            "include_dashboard": False,
            # More workers than CPUs is slow, but a user's choice; Ray would wait for CPUs for ever.
            "num_cpus": max(wanted, os.cpu_count() or 1),
        }
    try:
        ray.init(address=run.address, **options)
    # No such cluster, another Ray or Python than its own, a port that is taken: Ray has no class of its own for these.
    except (ValueError, RuntimeError, OSError) as error:
        reason = " ".join(str(error).split())
        raise WorkerError(f"run.address: {run.address!r}: Ray could not be joined or started: {reason}") from error
    try:
        yield
    finally:
        ray.shutdown()
