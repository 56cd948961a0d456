"""What is left of things that no word names, told by a network that knows them: held-out glyphs, and marks.

The network is trained here, on renders, by whoever measures; it is none of those that the model learned from.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from augment.editing import EditConfig, Objects, edit
from augment.inputs.tensors import to_images
from augment.models.interface import LatentDiffusion
from augment.models.precision import fast_autocast
from augment.seeding import seed_for
from augment.tiny.captions import ANYTHING, canonical_caption
from augment.tiny.evaluate import accuracy
from augment.tiny.wide_splits import MARK_CLASSES, UNKNOWN_CLASSES, class_scene
from augment.tiny.world import BACKGROUNDS, Scene, render
from augment.training.classifier import AttributeClassifier

RECOGNISED: dict[str, tuple[str, ...]] = {"unknown": UNKNOWN_CLASSES, "marked": MARK_CLASSES}
TRAINING, TESTING = 11, 12  # last words of the seeds of the renders


@dataclass(frozen=True)
class Renders:
    """Rendered scenes of the classes of one kind: images [N, 3, 64, 64] in -1..1, their class names, their scenes."""

    images: Float[Tensor, "N 3 64 64"]
    names: list[str]
    scenes: list[Scene]


def render_classes(kind: str, count: int, purpose: int) -> Renders:
    """Render `count` scenes of the classes of a kind, `unknown` or `marked`, in turn; all else is drawn at random.

    Args:
        purpose: `TRAINING` or `TESTING`; the two share no scene, nor does either with a shipped split.
    """
    classes = RECOGNISED[kind]
    names = [classes[i % len(classes)] for i in range(count)]
    seeds = [[0, i, purpose, list(RECOGNISED).index(kind)] for i in range(count)]
    scenes = [class_scene(n, np.random.default_rng(s)) for n, s in zip(names, seeds, strict=True)]
    return Renders(to_images(np.stack([render(scene) for scene in scenes])), names, scenes)


def train_recogniser(
    *, steps: int = 1100, batch_size: int = 64, count: int = 6000, seed: int = 0
) -> AttributeClassifier:
    """Train a classifier with a head for each kind, on `count` renders of each, mirrored at random, with slight noise.

    Raises:
        FileNotFoundError: if there is no emoji font to render with.
    """
    renders = {kind: render_classes(kind, count, TRAINING) for kind in RECOGNISED}
    labels = {k: torch.tensor([RECOGNISED[k].index(n) for n in r.names]) for k, r in renders.items()}
    random = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = AttributeClassifier(RECOGNISED)
    network = network.to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps, pct_start=0.1)
    for step in range(steps):
        kind = list(RECOGNISED)[step % 4 == 3]  # the unknown objects, which are harder, three times of four
        chosen = torch.randint(count, (batch_size,), generator=random)
        images = renders[kind].images[chosen]
        images = torch.where(torch.rand(batch_size, 1, 1, 1, generator=random) < 0.5, images, images.flip(-1))
        level = 0.15 * torch.rand(batch_size, 1, 1, 1, generator=random)
        images = images + level * torch.randn(images.shape, generator=random)
        with fast_autocast():
            logits = network(images.contiguous(memory_format=torch.channels_last))[kind]
        loss = F.cross_entropy(logits.float(), labels[kind][chosen])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
    return network.eval()


@torch.no_grad()
def round_trip(model: LatentDiffusion, images: Tensor, batch_size: int = 32) -> Tensor:
    """Return what the autoencoder makes of images [N, 3, H, W] in -1..1, on the CPU."""
    return torch.cat([model.decode(model.encode(chunk)).float().cpu() for chunk in images.split(batch_size)])


def edge_energy(images: Tensor) -> float:
    """Return the mean absolute first difference of images [N, C, H, W], across plus down."""
    across, down = images[..., 1:] - images[..., :-1], images[..., 1:, :] - images[..., :-1, :]
    return float(across.abs().mean() + down.abs().mean())


@dataclass(frozen=True)
class WideQuality:
    """Shares in 0..1 of `heldout_n` renders of held-out objects, and as many of marked ones; `*_renders` of renders.

    `sharpness_ratio` is the edge energy after the autoencoder's round trip over the one before, on a shipped split.
    The edits change the background by prompts that name the scene only.
    """

    heldout_recognised_renders: float
    heldout_recognised_after_vae: float
    heldout_edit_background: float
    heldout_edit_kept: float
    marks_recognised_renders: float
    marks_recognised_after_vae: float
    sharpness_ratio: float
    heldout_n: int


def measure_wide(
    model: LatentDiffusion,
    recogniser: AttributeClassifier,
    judge: AttributeClassifier,
    pictures: Tensor,
    editing: EditConfig,
    count: int = 384,
) -> WideQuality:
    """Measure autoencoder and edits on things without a word.

    Args:
        recogniser: as `train_recogniser` gives it. judge: knows the backgrounds.
        pictures: of a shipped split, [N, 3, H, W] in -1..1, for the sharpness.
        count: renders of each kind.
    """
    unknown, marked = (render_classes(kind, count, TESTING) for kind in RECOGNISED)
    targets, edits = edit_backgrounds(model, unknown, editing)
    return WideQuality(
        heldout_recognised_renders=accuracy(recogniser, unknown.images, "unknown", unknown.names),
        heldout_recognised_after_vae=accuracy(recogniser, round_trip(model, unknown.images), "unknown", unknown.names),
        heldout_edit_background=accuracy(judge, edits, "background", targets),
        heldout_edit_kept=accuracy(recogniser, edits, "unknown", unknown.names),
        marks_recognised_renders=accuracy(recogniser, marked.images, "marked", marked.names),
        marks_recognised_after_vae=accuracy(recogniser, round_trip(model, marked.images), "marked", marked.names),
        sharpness_ratio=edge_energy(round_trip(model, pictures)) / edge_energy(pictures),
        heldout_n=count,
    )


def edit_backgrounds(
    model: LatentDiffusion, renders: Renders, editing: EditConfig, batch_size: int = 32
) -> tuple[list[str], Tensor]:
    """Give every render another background by a prompt that names the scene only; return the targets and the edits."""
    targets = [_other(scene.background, i) for i, scene in enumerate(renders.scenes)]
    sources = [canonical_caption(None, s.background, s.condition) for s in renders.scenes]
    prompts = [canonical_caption(None, t, s.condition) for t, s in zip(targets, renders.scenes, strict=True)]
    parts = []
    for i in range(0, len(targets), batch_size):
        chunk = slice(i, i + batch_size)
        seeds = [seed_for("wide", str(k)) for k in range(i, min(i + batch_size, len(targets)))]
        wanted = [[p] for p in prompts[chunk]]
        found = Objects([ANYTHING[0]] * len(wanted))
        parts += edit(model, renders.images[chunk], sources[chunk], wanted, editing, seeds=seeds, objects=found).edits
    return targets, torch.cat(parts)


def _other(background: str, index: int) -> str:
    others = [b for b in BACKGROUNDS if b != background]
    return others[index % len(others)]
