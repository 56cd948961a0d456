"""How processes find each other: what torchrun says in their environment, and settings of their group. No torch."""

from __future__ import annotations

import datetime
import os

# Objects and counts go through gloo also where gradients go through nccl: they are on the CPU.
BACKENDS = {"cpu": "gloo", "cuda": "cpu:gloo,cuda:nccl"}
# The others wait while the first one looks for leaks or writes. A process that dies is noticed at once all the same.
WAIT = datetime.timedelta(hours=12)


def launched_size() -> int:
    """Return how many processes torchrun, or a launcher that speaks its language, has started; 1 without one."""
    named = {"RANK", "MASTER_ADDR", "MASTER_PORT"} <= os.environ.keys()
    return int(os.environ.get("WORLD_SIZE", "1")) if named else 1


def launched_rank() -> int:
    """Return which of these processes this one is; 0 without a launcher."""
    return int(os.environ["RANK"]) if launched_size() > 1 else 0
