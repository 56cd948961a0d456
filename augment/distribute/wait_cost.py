"""The CPU time that a driver spends in Ray for each unit that ends, with many units in flight."""

from __future__ import annotations

import asyncio
import time

import ray

from augment.distribute.cluster import ray_session
from augment.distribute.config import RunConfig


class _Holder:
    """Stands in for all workers, with calls that stay open and calls that end at once."""

    async def hold(self) -> None:
        await asyncio.Event().wait()

    async def finish(self) -> None:
        pass


def wait_cost(in_flight: int, repeats: int = 100) -> float:
    """Measure the driver's CPU time per unit that ends, in seconds, waiting for it as the pool does.

    Starts a Ray of one worker.

    Args:
        in_flight: number of other units, which stay in flight.
        repeats: number of measurements that the mean is taken over.
    """
    with ray_session(RunConfig(num_workers=1)):
        holder = ray.remote(num_cpus=0)(_Holder).options(max_concurrency=in_flight + 1).remote()
        held = [holder.hold.remote() for _ in range(in_flight)]
        ray.get(holder.finish.remote())  # waits until the actor has started
        began = time.process_time()
        for _ in range(repeats):
            done, rest = ray.wait([*held, holder.finish.remote()], num_returns=1)
            assert done
            ray.wait(rest, num_returns=len(rest), timeout=0)
        seconds = time.process_time() - began
        ray.kill(holder)
    return seconds / repeats
