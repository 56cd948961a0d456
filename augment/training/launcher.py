"""What torchrun says about this process in its environment. Needs no torch."""

from __future__ import annotations

import os


def launched_size() -> int:
    """Return how many processes torchrun, or a launcher that speaks its language, has started; 1 without one."""
    named = {"RANK", "MASTER_ADDR", "MASTER_PORT"} <= os.environ.keys()
    return int(os.environ.get("WORLD_SIZE", "1")) if named else 1


def launched_rank() -> int:
    """Return which of these processes this one is; 0 without a launcher."""
    return int(os.environ["RANK"]) if launched_size() > 1 else 0
