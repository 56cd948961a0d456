"""Where the object of a picture is: its place, size, turn, side and outline, read by a network trained on renders.

The network is trained here, by whoever measures, on renders only: never on a generated picture. What it says of the
autoencoder's round trip of a render, whose truth is known, is its own error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from PIL import ImageOps
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torchvision.transforms.functional import gaussian_blur

from augment.inputs.tensors import to_images
from augment.models.precision import fast_autocast
from augment.tiny.glyphs import sprite
from augment.tiny.marks import MARK_COLOURS, MARKS, Mark
from augment.tiny.sampling import sample_training_scene
from augment.tiny.wide_splits import UNKNOWN_CLASSES
from augment.tiny.world import CLASSES, IMAGE_SIZE, Scene, object_mask, render
from augment.training.classifier import ResidualBlock

MASK_SIZE = 32
MEANS = (32.0, 37.0, 36.0, 0.0)  # of x, y, size (pixels) and angle (degrees), for the network's outputs
SCALES = (6.0, 4.0, 4.0, 9.0)
TRAINING_SEED = 21  # last word of the seeds of the scenes it learns from
READ: tuple[str, ...] = (*CLASSES, *UNKNOWN_CLASSES)  # the objects that it learns to read


@dataclass(frozen=True)
class Instances:
    """The objects of N pictures.

    Attributes:
        place: centre x and y, in pixels from the upper left corner, [N, 2].
        size: side of the square that holds the object, in pixels, [N].
        angle: by which it is turned, in degrees, [N].
        flipped: probability that it looks the other way than the font's glyph, or whether it does, [N].
        mask: share of each cell that the object covers, in 0..1, [N, 32, 32].
    """

    place: Float[Tensor, "N 2"]
    size: Float[Tensor, " N"]
    angle: Float[Tensor, " N"]
    flipped: Float[Tensor, " N"]
    mask: Float[Tensor, "N 32 32"]


def true_instances(scenes: Sequence[Scene]) -> Instances:
    """Return what the scenes say about their objects."""
    masks = torch.from_numpy(np.stack([object_mask(scene) for scene in scenes]))
    return Instances(
        place=torch.tensor([[s.x, s.y] for s in scenes]),
        size=torch.tensor([s.size for s in scenes]),
        angle=torch.tensor([s.angle for s in scenes]),
        flipped=torch.tensor([float(s.flip) for s in scenes]),
        mask=F.avg_pool2d(masks[None], IMAGE_SIZE // MASK_SIZE)[0],
    )


@lru_cache(maxsize=1024)
def has_sides(name: str) -> bool:
    """Return whether an object looks different in a mirror: of its ink, a tenth or more of full contrast."""
    picture = sprite(name).resize((IMAGE_SIZE, IMAGE_SIZE))
    pixels, mirrored = (np.asarray(p, np.float32) / 255.0 for p in (picture, ImageOps.mirror(picture)))
    pixels, mirrored = (np.concatenate([p[..., :3] * p[..., 3:], p[..., 3:]], -1) for p in (pixels, mirrored))
    return bool(np.abs(pixels - mirrored).mean() >= 0.1 * pixels[..., 3].mean())


class InstanceReader(nn.Module):
    """Read the object of images [B, 3, 64, 64] in -1..1: four numbers, a logit of its side, logits of its mask."""

    def __init__(self, widths: tuple[int, ...] = (32, 64, 96, 128)) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, widths[0], 3, padding=1)
        self.down = nn.ModuleList(
            ResidualBlock(a, b) for a, b in zip((widths[0], *widths), widths, strict=False)
        )  # to 32, 16, 8, 4 pixels a side
        pairs = list(zip(widths[:0:-1], widths[-2::-1], strict=True))
        self.up = nn.ModuleList(nn.Conv2d(a + b, b, 3, padding=1) for a, b in pairs)
        self.outline = nn.Conv2d(widths[0], 1, 1)
        self.numbers = nn.Sequential(nn.Linear(widths[-1] * 16, 160), nn.ReLU(), nn.Linear(160, len(MEANS) + 1))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return standardised x, y, size and angle [B, 4], the side's logit [B], and the mask's [B, 32, 32]."""
        x = self.stem(images)
        levels = []
        for block in self.down:
            x = block(x)
            levels.append(x)
        numbers = self.numbers(x.flatten(1))
        for block, level in zip(self.up, reversed(levels[:-1]), strict=True):
            x = torch.cat([F.interpolate(x, scale_factor=2, mode="nearest"), level], dim=1)
            x = torch.relu(block(x))
        return numbers[:, :-1], numbers[:, -1], self.outline(x)[:, 0]

    @torch.no_grad()
    def read(self, images: Float[Tensor, "N 3 64 64"], batch_size: int = 128) -> Instances:
        """Return what the network sees in images in -1..1, on the CPU."""
        parts = [self(chunk) for chunk in images.split(batch_size)]
        numbers, side, mask = (torch.cat([part[i].float() for part in parts]) for i in range(3))
        numbers = numbers * torch.tensor(SCALES) + torch.tensor(MEANS)
        return Instances(numbers[:, :2], numbers[:, 2], numbers[:, 3], side.sigmoid(), mask.sigmoid())

    def save(self, path: Path) -> None:
        """Write the weights to a safetensors file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({k: v.contiguous() for k, v in self.state_dict().items()}, path)

    @classmethod
    def load(cls, path: Path) -> InstanceReader:
        """Return the reader that `save` wrote, in evaluation mode."""
        network = cls()
        network.load_state_dict(load_file(path))
        return network.eval()


def training_scene(rng: np.random.Generator) -> Scene:
    """Draw a scene to learn from: any of `READ` equally often; a third of them plain, the others with all extras."""
    scene = sample_training_scene(rng, texture_share=0.25)
    plain = rng.random() < 0.33
    scene = replace(scene, object=READ[int(rng.integers(len(READ)))], mark=None if plain else scene.mark)
    if plain:
        return replace(scene, tint=None, companion=None)
    if scene.object in CLASSES and rng.random() < 0.2:
        colour = tuple(MARK_COLOURS)[int(rng.integers(len(MARK_COLOURS)))]
        scene = replace(scene, mark=Mark(MARKS[int(rng.integers(len(MARKS)))], colour))
    return scene


def train_reader(*, steps: int = 2400, batch_size: int = 64, count: int = 12000, seed: int = 0) -> InstanceReader:
    """Train a reader on `count` renders: mirrored at random, with noise, softness and other brightness.

    Raises:
        FileNotFoundError: if there is no emoji font to render with.
    """
    scenes = [training_scene(np.random.default_rng([seed, i, TRAINING_SEED])) for i in range(count)]
    images = to_images(np.stack([render(scene) for scene in scenes]))
    truth = true_instances(scenes)
    targets = torch.cat([truth.place, truth.size[:, None], truth.angle[:, None]], dim=1)
    sided = torch.tensor([float(has_sides(scene.object)) for scene in scenes])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = InstanceReader()
    network = network.to(memory_format=torch.channels_last).train()
    random = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps, pct_start=0.1)
    for _ in range(steps):
        chosen = torch.randint(count, (batch_size,), generator=random)
        mirror = torch.rand(batch_size, generator=random) < 0.5
        batch, mask, wanted = images[chosen], truth.mask[chosen], targets[chosen]
        batch = torch.where(mirror.view(-1, 1, 1, 1), batch.flip(-1), batch)
        mask = torch.where(mirror.view(-1, 1, 1), mask.flip(-1), mask)
        mirrored = torch.stack([IMAGE_SIZE - wanted[:, 0], wanted[:, 1], wanted[:, 2], -wanted[:, 3]], dim=1)
        wanted = (torch.where(mirror[:, None], mirrored, wanted) - torch.tensor(MEANS)) / torch.tensor(SCALES)
        side = torch.where(mirror, 1 - truth.flipped[chosen], truth.flipped[chosen])
        batch = _disturbed(batch, random)
        with fast_autocast():
            numbers, side_logit, mask_logit = network(batch.contiguous(memory_format=torch.channels_last))
        of_side = F.binary_cross_entropy_with_logits(side_logit.float(), side, reduction="none") * sided[chosen]
        loss = F.smooth_l1_loss(numbers.float(), wanted, beta=0.1) + 0.5 * of_side.mean()
        loss = loss + F.binary_cross_entropy_with_logits(mask_logit.float(), mask)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
    return network.eval()


def _disturbed(images: Tensor, random: torch.Generator) -> Tensor:
    """Return images as a generator might have left them: softer, noisier, lighter or darker."""
    shape = (len(images), 1, 1, 1)
    soft = gaussian_blur(images, [5, 5], [0.9, 0.9])
    images = torch.lerp(images, soft, torch.rand(shape, generator=random))
    images = images * (0.85 + 0.3 * torch.rand(shape, generator=random))
    images = images + 0.2 * torch.rand(shape, generator=random) - 0.1
    return images + 0.1 * torch.rand(shape, generator=random) * torch.randn(images.shape, generator=random)
