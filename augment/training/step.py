"""One step of the optimizer: its learning rate, its loss, and the moving average of the weights."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from augment.errors import TrainingError
from augment.seeding import seed_for
from augment.training.checkpoint import TrainingState
from augment.training.config import OptimizerConfig, TrainingConfig


def learning_rate_at(config: OptimizerConfig, step: int, steps: int) -> float:
    """Return the learning rate of a step: linear warm-up, then a cosine to zero at the last step's end."""
    if step < config.warmup:
        return config.learning_rate * (step + 1) / config.warmup
    progress = (step - config.warmup) / max(1, steps - config.warmup)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))


def make_optimizer(network: nn.Module, config: OptimizerConfig) -> torch.optim.AdamW:
    """Return AdamW, without decay for biases and the weights of norms."""
    matrices = [p for p in network.parameters() if p.ndim > 1]
    vectors = [p for p in network.parameters() if p.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=config.learning_rate)


def arithmetic(config: TrainingConfig) -> torch.autocast:
    """Return the context in which the network computes in the config's dtype."""
    device = torch.device(config.device).type
    return torch.autocast(device, torch.bfloat16, enabled=config.dtype == "bfloat16")


def take_step(state: TrainingState, config: TrainingConfig, images: Tensor, targets: Tensor) -> float:
    """Take one step and return its loss.

    Args:
        state: of the run; goes one step on.
        images: of the step's batch, float32 [B, 3, H, W].
        targets: their classes, int64 [B], or shares of the classes [B, C].

    Raises:
        TrainingError: if the loss is no number.
    """
    settings = config.optimizer
    torch.manual_seed(seed_for(config.seed, "step", state.step))  # of dropout and stochastic depth
    for group in state.optimizer.param_groups:
        group["lr"] = learning_rate_at(settings, state.step, config.steps)
    state.network.train()
    images, targets = images.to(config.device), targets.to(config.device)
    with arithmetic(config):
        logits = state.network(images.contiguous(memory_format=torch.channels_last))
    loss = F.cross_entropy(logits.float(), targets, label_smoothing=settings.label_smoothing)
    value = float(loss.detach())
    if not math.isfinite(value):
        raise TrainingError(
            f"the loss is {value} at step {state.step + 1}. Lower optimizer.learning_rate "
            f"({settings.learning_rate:g}) or set dtype to float32, and choose another --out"
        )
    state.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    if settings.clip_norm is not None:
        nn.utils.clip_grad_norm_(state.network.parameters(), settings.clip_norm)
    state.optimizer.step()
    # The decay rises with the steps: the first, random weights must not stay in the average.
    _move_average(state, min(settings.ema_decay, (1 + state.step) / (10 + state.step)))
    state.step += 1
    return value


@torch.no_grad()
def _move_average(state: TrainingState, decay: float) -> None:
    """Move the average towards the weights, and running statistics likewise; counters are copied."""
    for kept, now in zip(state.average.state_dict().values(), state.network.state_dict().values(), strict=True):
        if kept.is_floating_point():
            kept.lerp_(now, 1 - decay)
        else:
            kept.copy_(now)
