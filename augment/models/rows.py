"""Calls of a network with one fixed number of rows, so that what a row gives depends on that row alone.

Libraries choose their kernels by the shape of a batch, and other kernels round differently: the same image in a batch
of seven and in one of eight differs in the last bits, and a few of its pixels by one level. With one shape for all
calls nothing of that is left on one kind of machine (`tests/models/test_rows.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def in_rows(call: Callable[..., Tensor], rows: int | None, *batches: Tensor) -> Tensor:
    """Return `call(*batches)` for batches [B, ...] of any B, made of calls with exactly `rows` rows.

    The last call is filled up with repetitions of the last row, whose results are dropped.

    Args:
        call: treats rows independently and returns one result per row.
        rows: rows of each call; None leaves the batches whole.
    """
    count = len(batches[0])
    if rows is None or count == rows or not count:
        return call(*batches)
    parts = []
    for start in range(0, count, rows):
        index = torch.arange(start, start + rows, device=batches[0].device).clamp_max(count - 1)
        parts.append(call(*(batch[index] for batch in batches)))
    return torch.cat(parts)[:count]


def padded_chunks(items: Sequence[str], rows: int | None) -> list[list[str]]:
    """Return texts in lists of exactly `rows`, the last one filled up with its last text; None: one list of all."""
    if rows is None or not items:
        return [list(items)]
    chunks = [list(items[i : i + rows]) for i in range(0, len(items), rows)]
    chunks[-1] += [chunks[-1][-1]] * (rows - len(chunks[-1]))
    return chunks
