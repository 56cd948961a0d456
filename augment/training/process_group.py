"""The processes that train one network together: those that torchrun or Ray Train has started, or this one alone."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from augment.errors import AugmentError, ModelError, TrainingError
from augment.training.batch_norm import share_batch_statistics
from augment.training.launcher import BACKENDS, WAIT, launched_size

T = TypeVar("T")
Failure = AugmentError | OSError


@dataclass(frozen=True)
class Ranks:
    """Say which of the processes this one is.

    All of them call its methods in the same order: each call is a meeting of all.

    Attributes:
        rank: 0 for the first one, which alone writes and tells.
        size: number of processes.
    """

    rank: int = 0
    size: int = 1

    def part(self, count: int) -> range:
        """Return which of so many things are this process's: parts in a row whose lengths differ by 1 at most."""
        return range(count * self.rank // self.size, count * (self.rank + 1) // self.size)

    def first(self, function: Callable[[], T]) -> T:
        """Return on every process what the function returns on the first one, which alone calls it.

        Raises:
            AugmentError, OSError: that of the function, on every process.
        """
        if self.size == 1:
            return function()
        outcome = [_outcome(function) if self.rank == 0 else None]
        dist.broadcast_object_list(outcome)
        (found,) = outcome
        assert found is not None
        value, error = found
        if error is not None:
            raise error
        return value  # type: ignore[return-value]  # there is one where there is no error

    def agree(self, function: Callable[[], T]) -> T:
        """Return what the function returns on this process, if it raises on none.

        Raises:
            AugmentError, OSError: that of the first process on which it was raised, on every process.
        """
        if self.size == 1:
            return function()
        value, error = _outcome(function)
        for found in self.gather(error):
            if found is not None:
                raise found
        return value  # type: ignore[return-value]  # there is one where there is no error

    def gather(self, mine: T) -> list[T]:
        """Return what each process has given, in the order of their ranks."""
        if self.size == 1:
            return [mine]
        found: list[T | None] = [None] * self.size
        dist.all_gather_object(found, mine)
        return found  # type: ignore[return-value]  # each process has put its own there

    def sums(self, mine: list[float]) -> list[float]:
        """Return the sums of some numbers over all processes."""
        if self.size == 1:
            return mine
        total = torch.tensor(mine, dtype=torch.float64)
        dist.all_reduce(total)
        return [float(value) for value in total]

    def prepare(self, network: nn.Module, name: str) -> nn.Module:
        """Return the network with batch norms whose statistics are of the whole batch, not of this process's part.

        Raises:
            ModelError: if it has some of which that cannot be done on its device.
        """
        return network if self.size == 1 else share_batch_statistics(network, name)

    def parallel(self, network: nn.Module) -> nn.Module:
        """Return a module that calls the network, and whose gradients are averages over all processes."""
        return network if self.size == 1 else DistributedDataParallel(network)


ALONE = Ranks()


@contextlib.contextmanager
def joined_ranks(device: str, batch_size: int) -> Iterator[Ranks]:
    """Join the other processes for as long as the block lasts; without torchrun or Ray Train there are none.

    Args:
        device: as the config names it. `cuda` becomes this process's own GPU.
        batch_size: of the batch that the processes share.

    Raises:
        ModelError: if a GPU is named by its number, or there is none for this process.
        TrainingError: if there are more processes than samples in a batch.
    """
    before = dist.is_initialized()
    size = dist.get_world_size() if before else launched_size()
    if size == 1:
        yield ALONE
        return
    if batch_size < size:
        raise TrainingError(
            f"batch_size is {batch_size}, but {size} processes share a batch; take at most {batch_size}"
        )
    if ":" in device:
        raise ModelError(
            f"device: {device}: {size} processes cannot share one GPU; set device: cuda, each takes its own"
        )
    check_gpu(device)
    if not before:
        dist.init_process_group(BACKENDS[device], timeout=WAIT)
    try:
        ranks = Ranks(dist.get_rank(), size)
        if not before:
            ranks.agree(lambda: _take_gpu(device))
        yield ranks
    finally:
        if not before:
            dist.destroy_process_group()


def check_gpu(device: str) -> None:
    """Raise ModelError if a device is a GPU and torch can use none."""
    if device != "cpu" and not torch.cuda.is_available():
        raise ModelError(f"device: {device}: there is no CUDA GPU here that torch can use; set device: cpu")


def _take_gpu(device: str) -> None:
    if device == "cpu":
        return
    local, have = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if local >= have:
        raise ModelError(f"device: cuda: this machine has {have} GPU(s) and more processes; start one for each GPU")
    torch.cuda.set_device(local)


def _outcome(function: Callable[[], T]) -> tuple[T | None, Failure | None]:
    """Return what a function returns, or the error of it that a user can solve."""
    try:
        return function(), None
    except (AugmentError, OSError) as error:
        return None, error
