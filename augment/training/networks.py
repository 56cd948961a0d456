"""Classifiers by name: a small residual network of ours, those of torchvision, and timm's if it is installed."""

from __future__ import annotations

import difflib
import importlib
from pathlib import Path
from typing import Any

import torch
import torchvision
from safetensors.torch import load_file
from torch import Tensor, nn

from augment.errors import ModelError
from augment.training.classifier import ResidualBlock
from augment.training.config import NetworkConfig

SMALL_RESNET = "small_resnet"
_SEVERAL_OUTPUTS = {"googlenet", "inception_v3"}  # while they are trained


class SmallResNet(nn.Module):
    """Images [B, 3, H, W] -> logits [B, classes]: residual blocks, each of which halves the sides; for 32 to 96 pixels.

    Args:
        num_classes: number of logits.
        widths: channels of the blocks, multiples of 8.
    """

    def __init__(self, num_classes: int, widths: tuple[int, ...] = (32, 64, 96, 128)) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, widths[0], 3, padding=1)
        self.blocks = nn.Sequential(*(ResidualBlock(a, b) for a, b in zip((widths[0], *widths), widths, strict=False)))
        self.head = nn.Linear(widths[-1], num_classes)

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.blocks(self.stem(images)).mean(dim=(2, 3))
        logits: Tensor = self.head(features)
        return logits


def build_network(config: NetworkConfig, num_classes: int, image_size: int) -> nn.Module:
    """Return the network with random weights from torch's own generator, or with those of `config.weights`.

    Raises:
        ModelError: if there is no network of that name, it cannot take pictures of this size, or the file with its
            weights cannot be used.
    """
    name = config.name
    if name == SMALL_RESNET:
        network: nn.Module = SmallResNet(num_classes)
    elif name in _of_torchvision():
        network = torchvision.models.get_model(name, weights=None, num_classes=num_classes, **_size(name, image_size))
    else:
        network = _of_timm(name, num_classes)
    _check_takes(network, name, image_size)
    if config.weights is not None:
        _load_weights(network, config.weights, name)
    return network


def published_normalization(name: str) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Return mean and std of the colours that a network's published weights were trained with; None without such."""
    if name == SMALL_RESNET:
        return None
    if name in _of_torchvision():
        default: Any = getattr(torchvision.models.get_model_weights(name), "DEFAULT", None)
        about: Any = default.transforms() if default is not None else None
    else:
        about = importlib.import_module("timm").get_pretrained_cfg(name)
    return (tuple(about.mean), tuple(about.std)) if about is not None else None


@torch.no_grad()
def _check_takes(network: nn.Module, name: str, image_size: int) -> None:
    """Raise ModelError if a network cannot take pictures of this size: libraries raise many types, deep inside."""
    was_training = network.training
    try:
        network.eval()(torch.zeros(1, 3, image_size, image_size))
    except Exception as error:
        raise ModelError(
            f"network.name: {name} cannot take pictures of {image_size} pixels ({' '.join(str(error).split())}); take "
            "another data.image_size, or small_resnet"
        ) from error
    finally:
        network.train(was_training)


@torch.no_grad()
def check_bfloat16_on_cpu(network: nn.Module, name: str, image_size: int) -> None:
    """Raise ModelError if bfloat16 gradients of a network are wrong on a CPU for pictures of this size.

    The weight gradient of a convolution with a stride whose input is a single position holds what was in memory before
    (oneDNN, torch 2.15): noise, now and then NaN.
    """
    reached: list[str] = []

    def look(conv: nn.Conv2d, inputs: tuple[Tensor, ...]) -> None:
        sides = zip(inputs[0].shape[2:], conv.kernel_size, conv.stride, strict=True)
        if any(side == 1 and kernel > 1 and stride > 1 for side, kernel, stride in sides):
            reached.append(names[conv])

    names = {module: key for key, module in network.named_modules() if isinstance(module, nn.Conv2d)}
    hooks = [conv.register_forward_pre_hook(look) for conv in names]
    was_training = network.training
    try:
        network.eval()(torch.zeros(1, 3, image_size, image_size))
    finally:
        network.train(was_training)
        for hook in hooks:
            hook.remove()
    if reached:
        raise ModelError(
            f"network.name: pictures of {image_size} pixels are a single position where {reached[0]} of {name} halves "
            "their sides, and gradients in bfloat16 are wrong there on a CPU. Set dtype: float32, take a larger "
            "data.image_size, or small_resnet"
        )


def _of_torchvision() -> list[str]:
    return sorted(set(torchvision.models.list_models(module=torchvision.models)) - _SEVERAL_OUTPUTS)


def _size(name: str, image_size: int) -> dict[str, Any]:
    if not name.startswith("vit_"):
        return {}
    patch = int(name.rpartition("_")[2])
    if image_size % patch:
        below = image_size - image_size % patch
        raise ModelError(
            f"network.name: {name} cuts pictures into patches of {patch} pixels, and data.image_size {image_size} is "
            f"no multiple of it; take {below or patch} or {below + patch}"
        )
    return {"image_size": image_size}


def _of_timm(name: str, num_classes: int) -> nn.Module:
    known = [SMALL_RESNET, *_of_torchvision()]
    near = difflib.get_close_matches(name, known, 1)
    meant = f"; did you mean {near[0]!r}?" if near else ""
    if ":" in name:
        raise ModelError(f"network.name: {name!r}: nothing is loaded from a hub; a file can be given, network.weights")
    try:
        timm: Any = importlib.import_module("timm")
    except ImportError:
        raise ModelError(
            f"network.name: {name!r} is neither {SMALL_RESNET} nor a classifier of torchvision{meant}. Names of timm "
            "can be used once it is installed: pip install 'rnri-augment[timm]'"
        ) from None
    try:
        network: nn.Module = timm.create_model(name, pretrained=False, num_classes=num_classes)
    except RuntimeError as error:
        raise ModelError(f"network.name: {name!r} is no classifier of torchvision or timm{meant} ({error})") from error
    return network


def _load_weights(network: nn.Module, path: str, name: str) -> None:
    """Set the weights to those of a file. Of a head for other classes the weights stay random."""
    try:
        safe = path.endswith(".safetensors")
        state = load_file(path) if safe else torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged files raise many types
        raise ModelError(f"network.weights: {path} cannot be read: {' '.join(str(error).split())}") from error
    own = network.state_dict()
    if not isinstance(state, dict) or own.keys() != state.keys():
        keys = state.keys() if isinstance(state, dict) else set[str]()
        missing, foreign = sorted(own.keys() - keys), sorted(map(str, keys - own.keys()))
        raise ModelError(
            f"network.weights: {Path(path).name} does not fit {name}: "
            f"{len(missing)} weights are missing ({', '.join(missing[:3])}), {len(foreign)} are foreign "
            f"({', '.join(foreign[:3])})"
        )
    other = {key for key in own if own[key].shape != state[key].shape}
    head = list(own)[-1].rpartition(".")[0]
    if wrong := sorted(key for key in other if key.rpartition(".")[0] != head):
        shapes = f"{list(state[wrong[0]].shape)} instead of {list(own[wrong[0]].shape)}"
        raise ModelError(f"network.weights: {Path(path).name} does not fit {name}: {wrong[0]} is {shapes}")
    network.load_state_dict({key: own[key] if key in other else state[key] for key in own})
