"""What Ray asks of a driver with many workers: the CPU time of one look at all units in flight."""

from __future__ import annotations

import asyncio
import time

import ray

from augment.distribute.cluster import ray_session
from augment.distribute.config import RunConfig


class _Holder:
    """Stands for all workers: calls that stay open, and some that end."""

    async def hold(self) -> None:
        await asyncio.Event().wait()

    async def finish(self) -> None:
        pass


def wait_cost(in_flight: int, turns: int = 100) -> float:
    """Mean seconds of this process's CPU time from a unit's end to its being seen, as the pool waits for it.

    Args:
        in_flight: other units, which go on meanwhile.
        turns: over how many the mean is.
    """
    with ray_session(RunConfig(num_workers=1)):
        holder = ray.remote(num_cpus=0)(_Holder).options(max_concurrency=in_flight + 1).remote()
        held = [holder.hold.remote() for _ in range(in_flight)]
        ray.get(holder.finish.remote())  # it is up
        began = time.process_time()
        for _ in range(turns):
            done, rest = ray.wait([*held, holder.finish.remote()], num_returns=1)
            assert done
            ray.wait(rest, num_returns=len(rest), timeout=0)
        seconds = time.process_time() - began
        ray.kill(holder)
    return seconds / turns
