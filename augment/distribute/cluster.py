"""The Ray of a run, started here or joined, and the number of workers that it has room for."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
from collections.abc import Iterator, Mapping
from typing import Any

import ray

from augment.distribute.config import RunConfig
from augment.distribute.reach import check_reachable
from augment.distribute.signals import interruptible
from augment.errors import Interrupted, WorkerError

logger = logging.getLogger(__name__)


def usable_workers(run: RunConfig, device: str, resources: Mapping[str, float], key: str = "model.device") -> int:
    """Return how many workers to start on a Ray with these resources.

    Each takes `run.gpus_per_worker` of a GPU. A configured number is returned even if the cluster has room for fewer:
    actors that wait make an autoscaler add machines.

    Args:
        run: the `run` section.
        device: of a worker: `cpu` or `cuda...`.
        resources: name -> amount, as `ray.cluster_resources` gives them.
        key: of the config that has the device.

    Raises:
        WorkerError: if workers need GPUs, and a Ray on this machine alone, which cannot grow, has none.
    """
    gpu = device.startswith("cuda")
    have = int(resources.get("GPU" if gpu else "CPU", 0)) * (run.workers_per_gpu if gpu else 1)
    if run.address == "local" and gpu:
        if have == 0:
            raise WorkerError(
                f"{key} is {device!r}, but Ray has no GPU; set {key}: cpu, or run.address to a cluster that has GPUs"
            )
        if run.num_workers != "all" and have < run.num_workers:
            share = f"{run.workers_per_gpu} workers" if run.workers_per_gpu > 1 else "one worker"
            gpus = have // run.workers_per_gpu
            logger.warning("run.num_workers is %d, but Ray has %d GPU(s): %s on each", run.num_workers, gpus, share)
            return have
    if run.num_workers != "all":
        return run.num_workers
    return have if gpu else max(1, have // run.threads_per_worker)


@contextlib.contextmanager
def ray_session(run: RunConfig) -> Iterator[None]:
    """Join or start a Ray for as long as the block lasts; one that was initialized before is left alone.

    Raises:
        WorkerError: if it cannot be joined or started.
        Interrupted: on SIGTERM or SIGINT meanwhile.
    """
    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # otherwise Ray warns about a future default
    # What workers warn about comes with their reports (augment.distribute.notices).
    options: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    if run.address == "local":
        wanted = 1 if run.num_workers == "all" else run.num_workers
        options |= {
            # No data goes through the object store, and its default share of memory may not be available.
            "object_store_memory": 100 * 2**20,
            "include_dashboard": False,
            # A user may want more workers, or threads, than CPUs; without this Ray would wait for CPUs for ever.
            "num_cpus": max(wanted * run.threads_per_worker, os.cpu_count() or 1),
        }
    try:
        with interruptible():
            check_reachable(run.address)
            ray.init(address=run.address, **options)
    except SystemExit as error:  # Ray has a SIGTERM handler of its own from some point of `init` on
        raise Interrupted(signal.SIGTERM) from error
    # No such cluster, another version of Ray or Python, a port in use, a machine too busy to start it soon: for these
    # Ray has no error class of its own, and for the last not even one of Python's.
    except Exception as error:
        reason = " ".join(str(error).split())
        raise WorkerError(f"run.address: {run.address!r}: Ray could not be joined or started: {reason}") from error
    try:
        yield
    finally:
        ray.shutdown()
