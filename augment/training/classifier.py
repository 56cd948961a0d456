"""A small convolutional classifier with one head per attribute, trained on real or rendered pictures.

It has two uses: as the *judge* of emoji world (trained on renders only, never on generated pictures), and as the
model of the "did augmentation help?" experiments.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn


class ResidualBlock(nn.Module):
    """Halve the sides of feature maps [B, C, H, W]: two convolutions with normalisation, and a shortcut."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride=2, padding=1)
        self.norm1 = nn.GroupNorm(8, out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.norm2 = nn.GroupNorm(8, out_channels)
        self.shortcut = nn.Conv2d(in_channels, out_channels, 1, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.norm1(self.conv1(x)))
        return torch.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


class AttributeClassifier(nn.Module):
    """Images [B, 3, H, W] in -1..1 -> one tensor of logits [B, number of names] per attribute.

    Args:
        attributes: for each attribute, its value names in the order of the logits.
        widths: channels of the residual blocks; each halves the resolution.
    """

    def __init__(self, attributes: dict[str, tuple[str, ...]], widths: tuple[int, ...] = (32, 64, 96, 128)) -> None:
        super().__init__()
        self.attributes = {name: tuple(values) for name, values in attributes.items()}
        self.widths = tuple(widths)
        self.stem = nn.Conv2d(3, widths[0], 3, padding=1)
        stages = [ResidualBlock(a, b) for a, b in zip((widths[0], *widths), widths, strict=False)]
        self.blocks = nn.Sequential(*stages)
        self.heads = nn.ModuleDict({name: nn.Linear(widths[-1], len(v)) for name, v in self.attributes.items()})

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return the logits [B, number of names] of every attribute for images [B, 3, H, W] in -1..1."""
        features = self.blocks(self.stem(images)).mean(dim=(2, 3))
        return {name: head(features) for name, head in self.heads.items()}

    @torch.no_grad()
    def predict(self, images: Tensor, batch_size: int = 256) -> dict[str, Tensor]:
        """Return class indices, int64 [B] per attribute, on the CPU."""
        self.eval()
        device = self.stem.weight.device
        parts = [self(chunk.to(device)) for chunk in images.split(batch_size)]
        return {name: torch.cat([p[name] for p in parts]).argmax(dim=1).cpu() for name in self.attributes}

    def save(self, folder: Path) -> None:
        """Write `config.json` and `model.safetensors` (fp16)."""
        folder.mkdir(parents=True, exist_ok=True)
        config = {"attributes": self.attributes, "widths": self.widths}
        (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
        save_file(
            {k: v.detach().half().contiguous() for k, v in self.state_dict().items()}, folder / "model.safetensors"
        )

    @classmethod
    def load(cls, folder: Path) -> AttributeClassifier:
        """Return the classifier that `save` wrote, in float32 and in evaluation mode."""
        config = json.loads((folder / "config.json").read_text())
        model = cls({k: tuple(v) for k, v in config["attributes"].items()}, tuple(config["widths"]))
        model.load_state_dict({k: v.float() for k, v in load_file(folder / "model.safetensors").items()})
        return model.eval()
