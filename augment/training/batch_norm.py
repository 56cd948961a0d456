"""Batch norms whose statistics are of the whole batch, where several processes have a part of it each."""

from __future__ import annotations

import importlib
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from augment.errors import ModelError

_PLAIN = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class _SumOverAll(torch.autograd.Function):
    """The sum of a tensor over all processes. Each one's loss depends on it, so its gradient is their sum."""

    @staticmethod
    def forward(ctx: Any, mine: Tensor) -> Tensor:
        total = mine.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone()
        dist.all_reduce(total)
        return total


class GlooBatchNorm(nn.BatchNorm2d):
    """Normalise inputs [B, C, ...] by the mean and variance over all processes; `nn.SyncBatchNorm` needs a GPU."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            kept = self.running_mean, self.running_var
            return F.batch_norm(x, *kept, self.weight, self.bias, training=kept[0] is None, eps=self.eps)
        dims, shape = [0, *range(2, x.ndim)], [1, -1, *[1] * (x.ndim - 2)]
        with torch.autocast("cpu", enabled=False):
            values = x.to(torch.promote_types(x.dtype, torch.float32))
            count = torch.tensor([x.numel() / x.shape[1]], dtype=values.dtype)
            dist.all_reduce(count)
            mean = _SumOverAll.apply(values.sum(dims)) / count
            centred = values - mean.view(shape)
            variance = _SumOverAll.apply(centred.square().sum(dims)) / count
            self._remember(mean.detach(), variance.detach() * count / (count - 1))
            y = centred * (variance + self.eps).rsqrt().view(shape)
            if self.affine:
                y = y * self.weight.view(shape) + self.bias.view(shape)
        return y.to(x.dtype)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        """Move the running statistics towards those of this batch."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(variance, share)


def share_batch_statistics(network: nn.Module, name: str) -> nn.Module:
    """Return the network with its batch norms replaced by such as compute over all processes; weights stay the same.

    Args:
        network: on the device on which it is trained.
        name: of the network, for the error.

    Raises:
        ModelError: if it has batch norms of another library and is on a CPU.
    """
    norms = [module for module in network.modules() if isinstance(module, _PLAIN)]
    foreign = sorted({type(module).__name__ for module in norms if type(module) not in _PLAIN})
    if next(network.parameters()).device.type != "cpu":
        if foreign:  # timm's, which are activations too
            timm: Any = importlib.import_module("timm.layers")
            converted: nn.Module = timm.convert_sync_batchnorm(network)
        else:
            converted = nn.SyncBatchNorm.convert_sync_batchnorm(network)
        return converted
    if foreign:
        raise ModelError(
            f"network.name: {name} has batch norms of its own kind ({', '.join(foreign)}), whose statistics several "
            "processes cannot share on a CPU. Train it in one process, on GPUs, or take another network"
        )
    _replace(network)
    return network


def _replace(module: nn.Module) -> None:
    for name, child in module.named_children():
        if isinstance(child, _PLAIN):
            norm = GlooBatchNorm(child.num_features, child.eps, child.momentum, child.affine, child.track_running_stats)
            norm.load_state_dict(child.state_dict())
            setattr(module, name, norm)
        else:
            _replace(child)
