"""Whether the label of a synthetic picture is still true: told by networks that have seen renders only."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from augment.inputs.tensors import to_images
from augment.models.precision import fast_autocast
from augment.scoring.intervals import Estimate, share_of
from augment.storage.tar import write_bytes_atomic
from augment.study.config import JudgeConfig
from augment.study.pictures import synthetic_pictures
from augment.study.tracks import CLASS_KINDS
from augment.tiny.evaluate import lost_among
from augment.tiny.wide_splits import class_scene
from augment.tiny.world import render
from augment.training.classifier import AttributeClassifier

LABEL = "label"  # the judge's one attribute
JUDGE_TRAINING, JUDGE_TESTING = 70, 71  # third words of the seeds of the renders
BATCH_SIZE, LEARNING_RATE = 64, 2e-3


@dataclass(frozen=True)
class LabelJudge:
    """A network that knows the classes of one kind.

    Attributes:
        name: of its folder, which its settings name.
        of_renders: how often it is right about renders that it has not seen.
    """

    name: str
    network: AttributeClassifier
    of_renders: Estimate

    def label_true(self, images: Tensor, names: list[str]) -> Estimate:
        """Return the share of images [N, 3, 64, 64] in -1..1 in which the judge sees the named class."""
        return share_of(_hits(self.network, images, names))


def label_judge(kind: str, config: JudgeConfig, out: Path) -> LabelJudge:
    """Return the judge of a kind of classes; it is trained once, and kept in a folder of `out` that its settings name.

    Raises:
        FileNotFoundError: if there is no emoji font to render with.
    """
    settings = [kind, CLASS_KINDS[kind], config.steps, config.renders]
    digest = hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:8]
    folder = out / "judges" / f"{kind}-{digest}"
    if not folder.exists():
        partial = folder.with_name(f"{folder.name}.part")
        train_label_judge(kind, config).save(partial)
        partial.rename(folder)
    network = AttributeClassifier.load(folder)
    images, names = judged_renders(kind, config.test_renders, JUDGE_TESTING)
    return LabelJudge(folder.name, network, share_of(_hits(network, images, names)))


def label_true(folder: Path, judge: LabelJudge) -> Estimate:
    """Return the share of the pictures in a folder of `make_synthetic` whose label is true; it is kept there."""
    kept = folder / f"label_true-{judge.name}.json"
    if not kept.exists():
        estimate = judge.label_true(*synthetic_pictures(folder))
        write_bytes_atomic(kept, json.dumps(asdict(estimate)).encode())
    return Estimate(**json.loads(kept.read_text()))


def judged_renders(kind: str, count: int, purpose: int) -> tuple[Tensor, list[str]]:
    """Render scenes of the classes of a kind in turn, all else drawn at random: images [N, 3, 64, 64], class names.

    Args:
        purpose: `JUDGE_TRAINING` or `JUDGE_TESTING`; they share no scene, nor does either with a track.
    """
    classes = CLASS_KINDS[kind]
    names = [classes[i % len(classes)] for i in range(count)]
    place = 1 + list(CLASS_KINDS).index(kind)
    seeds = [[0, i, purpose, place] for i in range(count)]
    scenes = [class_scene(name, np.random.default_rng(seed)) for name, seed in zip(names, seeds, strict=True)]
    return to_images(np.stack([render(scene) for scene in scenes])), names


def train_label_judge(kind: str, config: JudgeConfig) -> AttributeClassifier:
    """Train a classifier of a kind of classes on renders, mirrored at random, with noise of a random level."""
    images, names = judged_renders(kind, config.renders, JUDGE_TRAINING)
    labels = torch.tensor([CLASS_KINDS[kind].index(name) for name in names])
    random = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = AttributeClassifier({LABEL: CLASS_KINDS[kind]})
    network = network.to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=0.02)
    rates = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=config.steps, pct_start=0.1)
    for _ in range(config.steps):
        chosen = torch.randint(len(images), (BATCH_SIZE,), generator=random)
        mirrored = torch.rand(BATCH_SIZE, 1, 1, 1, generator=random) < 0.5
        batch = torch.where(mirrored, images[chosen].flip(-1), images[chosen])
        level = 0.15 * torch.rand(BATCH_SIZE, 1, 1, 1, generator=random)
        batch = batch + level * torch.randn(batch.shape, generator=random)
        with fast_autocast():
            logits = network(batch.contiguous(memory_format=torch.channels_last))[LABEL]
        loss = F.cross_entropy(logits.float(), labels[chosen])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        rates.step()
    return network.eval()


def _hits(network: AttributeClassifier, images: Tensor, names: list[str]) -> list[bool]:
    known = network.attributes[LABEL]
    seen, lost = network.predict(images)[LABEL].tolist(), lost_among(images).tolist()
    return [known[i] == name and not gone for i, name, gone in zip(seen, names, lost, strict=True)]
