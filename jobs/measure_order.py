"""What the order of a dataset does to training: a small classifier on 20 classes, sorted shards against mixed ones.

python -m jobs.measure_order [--steps 200] [--json]

A class is one of 5 objects under one of 4 conditions of emoji world. Of each class 125 pictures are rendered and each
is written 8 times, shifted and mirrored, as a run writes edits of each image: 20 shards of 1,000 samples, which is
what the loader's shuffle buffer holds. The same classifier is then trained for the same number of steps three times:

    sorted, one shard at a time   shards of one class each, read one after the other into the shuffle buffer
    sorted, read together         the same shards as the loader reads them now
    in plan order                 shards of the order in which a run publishes them, a hash of the sources' keys

Needs the Noto Color Emoji font (Debian package fonts-noto-color-emoji), and takes about a minute on one CPU core.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.nn.functional import cross_entropy

from augment.inputs.images import encode_png
from augment.inputs.tensors import to_images
from augment.ledger.plan import in_plan_order
from augment.storage.tar import write_tar
from augment.tiny.world import CLASSES, CONDITIONS, render, sample_scene
from augment.training.classifier import AttributeClassifier
from augment.training.loader import MixedLoader, mixed_loader
from augment.types import Source

NAMES = tuple(f"{name}, {condition}" for name in CLASSES[:5] for condition in CONDITIONS)
SIZE = 32
BATCH_SIZE = 64
TEST_IMAGES = 1_000_000  # indices of a class from here on are test pictures

Draw = Callable[[int, int], np.ndarray]  # label and index in the class -> RGB, uint8 [SIZE, SIZE, 3]


@dataclass(frozen=True)
class Sizes:
    """How much is rendered and trained: sources and test pictures per class, copies of each source, steps."""

    sources: int = 125
    copies: int = 8
    tests: int = 25
    steps: int = 200


@dataclass(frozen=True)
class Result:
    """Of one way: mean number of classes in a batch, and accuracy on balanced test pictures after the last step."""

    order: str
    classes_per_batch: float
    accuracy: float


def scene(label: int, index: int) -> np.ndarray:
    """Draw a scene of a class as RGB, uint8 [SIZE, SIZE, 3]."""
    name, condition = NAMES[label].split(", ")
    picture = render(sample_scene(np.random.default_rng([label, index]), object=name, condition=condition))
    return np.asarray(Image.fromarray(picture).resize((SIZE, SIZE), Image.Resampling.BOX))


def write_shards(folder: Path, sources: Iterable[Source], draw: Draw, copies: int, per_shard: int) -> Path:
    """Write `copies` samples of each source, shifted and mirrored, in the order given; return the folder."""
    samples: list[tuple[str, dict[str, bytes]]] = []
    number = 0
    for source in sources:
        picture = draw(source.label, int(source.locator))
        for copy in range(copies):
            moved = np.roll(picture[:, :: -1 if copy % 2 else 1], copy - copies // 2, axis=1)
            samples.append((f"{source.key}-v{copy}", {"png": encode_png(moved), "cls": str(source.label).encode()}))
        if len(samples) >= per_shard:
            write_tar(folder / f"{number:03d}.tar", samples)
            samples, number = [], number + 1
    if samples:
        write_tar(folder / f"{number:03d}.tar", samples)
    return folder


def trained(loader: MixedLoader, seed: int = 0) -> tuple[AttributeClassifier, float]:
    """Train a classifier for an epoch; return it, and the mean number of classes in a batch."""
    torch.manual_seed(seed)
    model = AttributeClassifier({"class": NAMES}, widths=(16, 32, 64))
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    classes = 0
    for images, labels in loader:
        classes += len(set(labels.tolist()))
        loss = cross_entropy(model(images)["class"], labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model, classes / len(loader)


def measure(folder: Path, draw: Draw = scene, sizes: Sizes = Sizes()) -> Iterator[Result]:
    """Yield the results of the three ways; the shards are written to the folder."""
    sources = [
        Source(f"{label:02d}/{index:04d}", str(index), 0, label, name)
        for label, name in enumerate(NAMES)
        for index in range(sizes.sources)
    ]
    per_shard = sizes.sources * sizes.copies
    draw = cache(draw)  # each picture is written twice, and drawing takes longer than writing
    by_class = write_shards(folder / "sorted", sources, draw, sizes.copies, per_shard)
    in_order = write_shards(folder / "mixed", in_plan_order(sources), draw, sizes.copies, per_shard)
    truth = torch.arange(len(NAMES)).repeat_interleave(sizes.tests)
    tests = to_images(np.stack([draw(c, TEST_IMAGES + i) for c in range(len(NAMES)) for i in range(sizes.tests)]))
    ways = {
        "sorted, one shard at a time": (by_class, 1),
        "sorted, read together": (by_class, len(NAMES)),
        "in plan order": (in_order, 1),
    }
    for name, (shards, open_shards) in ways.items():
        samples = sizes.steps * BATCH_SIZE
        loader = mixed_loader(
            shards, batch_size=BATCH_SIZE, epoch_samples=samples, image_size=SIZE, open_shards=open_shards
        )
        model, classes = trained(loader)
        accuracy = (model.predict(tests)["class"] == truth).double().mean().item()
        yield Result(name, round(classes, 1), round(accuracy, 3))


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description="Accuracy of a small classifier by the order of its training data.")
    parser.add_argument("--steps", type=int, default=Sizes.steps, help=f"training steps of {BATCH_SIZE} samples")
    parser.add_argument("--json", action="store_true", help="print one JSON object for each way instead of text")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for result in measure(Path(folder), sizes=Sizes(steps=options.steps)):
            line = f"{result.order:28} {result.classes_per_batch:4.1f} classes a batch, accuracy {result.accuracy:.3f}"
            print(json.dumps(asdict(result)) if options.json else line, flush=True)


if __name__ == "__main__":
    main()
