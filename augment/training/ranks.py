"""Which rank this process is, and what is its share of an epoch."""

from __future__ import annotations

import os

import torch.distributed


def share_of_rank(epoch_samples: int, world_size: int) -> int:
    """Return the samples of one rank. Raises ValueError if there are none, or not the same number for all ranks."""
    if epoch_samples < 1:
        raise ValueError(f"epoch_samples is {epoch_samples}, expected at least 1")
    if epoch_samples % world_size:
        below = epoch_samples - epoch_samples % world_size
        raise ValueError(
            f"epoch_samples is {epoch_samples}, which {world_size} ranks cannot share evenly; "
            f"take {below or world_size} or {below + world_size}"
        )
    return epoch_samples // world_size


def rank_and_world_size(rank: int | None, world_size: int | None) -> tuple[int, int]:
    """Return the rank and the number of ranks: as given, else torch.distributed's, else the environment's.

    Raises:
        ValueError: if only one of them is given, or the rank is out of its range.
    """
    if (rank is None) != (world_size is None):
        raise ValueError(f"give rank and world_size together: rank is {rank}, world_size is {world_size}")
    if rank is None or world_size is None:
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            rank, world_size = torch.distributed.get_rank(), torch.distributed.get_world_size()
        else:
            rank, world_size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    if not 0 <= rank < world_size:
        raise ValueError(f"rank is {rank}, expected 0 to world_size - 1 = {world_size - 1}")
    return rank, world_size
