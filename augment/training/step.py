"""One step of the optimizer: its learning rate, its loss, and the moving average of the weights."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from augment.errors import TrainingError
from augment.models.precision import has_bfloat16
from augment.seeding import seed_for
from augment.training.batches import BatchPart
from augment.training.checkpoint import TrainingState
from augment.training.config import OptimizerConfig, TrainingConfig
from augment.training.process_group import ALONE, Ranks


def learning_rate_at(config: OptimizerConfig, step: int, steps: int) -> float:
    """Return the learning rate of a step: linear warm-up, then a cosine to zero at the last step's end."""
    if step < config.warmup:
        return config.learning_rate * (step + 1) / config.warmup
    progress = (step - config.warmup) / max(1, steps - config.warmup)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))


def make_optimizer(network: nn.Module, config: OptimizerConfig) -> torch.optim.AdamW:
    """Return AdamW, without decay for parameters of one dimension: biases and the weights of norms.

    All others decay, those of a transformer that are no matrices of a layer included: tokens, position embeddings,
    scales of layers as torchvision shapes them.
    """
    matrices = [p for p in network.parameters() if p.ndim > 1]
    vectors = [p for p in network.parameters() if p.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=config.learning_rate)


def arithmetic(config: TrainingConfig) -> torch.autocast:
    """Return the context in which the network computes in the config's dtype."""
    return torch.autocast(torch.device(config.device).type, torch.bfloat16, enabled=in_bfloat16(config))


def decided_dtype(dtype: str, device: str) -> str:
    """Return the dtype that `auto` is on a device, or the one that is given instead."""
    if dtype != "auto":
        return dtype
    return "bfloat16" if has_bfloat16(device) else "float32"


def in_bfloat16(config: TrainingConfig) -> bool:
    """Return whether the network computes in bfloat16."""
    return decided_dtype(config.dtype, config.device) == "bfloat16"


def logits_of(network: nn.Module, config: TrainingConfig) -> Callable[[Tensor], Tensor]:
    """Return the function images [B, 3, H, W] -> logits, float32 [B, C], on the config's device and in its dtype."""

    def logits(images: Tensor) -> Tensor:
        with arithmetic(config):
            found: Tensor = network(images.to(config.device).contiguous(memory_format=torch.channels_last))
        return found.float()

    return logits


def take_step(
    state: TrainingState, forward: nn.Module, config: TrainingConfig, batch: BatchPart, ranks: Ranks = ALONE
) -> float:
    """Take one step, together with the other processes, and return the loss of the whole batch.

    Each process weighs its samples by their share of the batch, so that parts of different lengths are right too.

    Args:
        state: of the run; goes one step on.
        forward: calls the state's network; see `Ranks.parallel`.
        batch: this process's part of the step's batch.

    Raises:
        AugmentError: if a process could not read its part of the batch; that of the first such one, on all.
        TrainingError: if the loss is no number.
    """
    settings = config.optimizer
    # Of dropout and stochastic depth, which each process draws for its part.
    torch.manual_seed(seed_for(config.seed, "step", state.step, *([ranks.rank] if ranks.rank else [])))
    for group in state.optimizer.param_groups:
        group["lr"] = learning_rate_at(settings, *config.place_in_stage(state.step))
    state.network.train()
    images, targets = batch.images.to(config.device), batch.targets.to(config.device)
    with arithmetic(config):
        logits = forward(images.contiguous(memory_format=torch.channels_last))
    total = _loss(logits.float(), targets, settings.label_smoothing, weighted=config.recipe.name == "weighted")
    loss = total / config.batch_size
    # One meeting for both: a process without its pictures must not leave the others waiting for its gradients.
    value, failed = ranks.sums([float(loss.detach()), float(batch.error is not None)])
    if failed:
        raise next(error for error in ranks.gather(batch.error) if error is not None)
    if not math.isfinite(value):
        raise TrainingError(
            f"the loss is {value} at step {state.step + 1}. Lower optimizer.learning_rate "
            f"({settings.learning_rate:g}) or set dtype to float32, and choose another --out"
        )
    state.optimizer.zero_grad(set_to_none=True)
    (loss * ranks.size).backward()  # the gradients are averaged over the processes
    if settings.clip_norm is not None:
        nn.utils.clip_grad_norm_(state.network.parameters(), settings.clip_norm)
    state.optimizer.step()
    # The decay rises with the steps: the first, random weights must not stay in the average.
    _move_average(state, min(settings.ema_decay, (1 + state.step) / (10 + state.step)))
    state.step += 1
    return value


def _loss(logits: Tensor, targets: Tensor, smoothing: float, *, weighted: bool) -> Tensor:
    """Return the sum of the losses of some samples; a weight is the sum of a row of targets."""
    if not weighted:
        return F.cross_entropy(logits, targets, reduction="sum", label_smoothing=smoothing)
    if targets.ndim == 1:  # of a batch that could not be read
        return logits.sum() * 0.0
    weights = targets.sum(dim=1)
    shares = targets / weights.clamp_min(torch.finfo(weights.dtype).tiny)[:, None]
    return (weights * F.cross_entropy(logits, shares, reduction="none", label_smoothing=smoothing)).sum()


@torch.no_grad()
def _move_average(state: TrainingState, decay: float) -> None:
    """Move the average towards the weights, and running statistics likewise; counters are copied."""
    for kept, now in zip(state.average.state_dict().values(), state.network.state_dict().values(), strict=True):
        if kept.is_floating_point():
            kept.lerp_(now, 1 - decay)
        else:
            kept.copy_(now)
