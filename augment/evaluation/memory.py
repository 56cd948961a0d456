"""How much memory a computation needs at its peak, beyond what was there before it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter


def peak_bytes(compute: Callable[[], object], device: torch.device) -> int:
    """Run `compute` and return the peak of the memory that it added. Not to be timed: on a CPU it slows it down.

    On CUDA, what torch's allocator had handed out at the peak (`max_memory_allocated`) less what it had before: tensors
    and the workspaces of kernels, the first ones of a process among them, so let it run once before.

    On a CPU there is no such counter. Counted are the storages of the tensors that torch's operators return, of every
    dtype, each once however many views it has, from the operator that made it until nothing refers to it any more,
    neither Python nor the graph that a backward pass needs. Not counted are what an operator allocates and frees within
    itself, memory of Python's or of other libraries, and what existed before, even if `compute` frees it.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        compute()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    with _LiveStorages() as live:
        compute()
    return live.peak


class _LiveStorages(TorchDispatchMode):
    """Sees every operator below autograd, and so also what is saved for the backward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.peak = 0
        self._total = 0  # bytes of the storages in `_sizes`, some of which may be gone by now
        self._sizes: dict[StorageWeakRef, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        given = {StorageWeakRef(t.untyped_storage()) for t in tree_iter((args, kwargs)) if isinstance(t, torch.Tensor)}
        for tensor in tree_iter(result):
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                reference = StorageWeakRef(storage)
                # An operator's result may be its argument or a view of it, and that may be older than the measurement.
                if reference not in given and reference not in self._sizes:
                    self._sizes[reference] = storage.nbytes()
                    self._total += storage.nbytes()
        if self._total > self.peak:  # only then does it matter what is gone
            for reference in [r for r in self._sizes if r.expired()]:
                self._total -= self._sizes.pop(reference)
            self.peak = max(self.peak, self._total)
        return result
