"""Toy datasets for training: three classes of noisy, coloured pictures on two backgrounds, 16 x 16 pixels."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from augment.inputs.images import encode_png
from augment.storage.tar import write_tar
from augment.training.config import TrainingConfig

NAMES = ("red", "green", "blue")
BACKGROUNDS = ("dark", "light")
SIZE = 16


def picture(label: int, number: int, split: str) -> bytes:
    """A PNG whose colour says the class, unlike every other one."""
    seed = int.from_bytes(hashlib.sha256(f"{split}/{label}/{number}".encode()).digest()[:4], "big")
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 110, (SIZE, SIZE, 3)) + 60 * (number % 2)
    pixels[4:12, 4:12, label] += 80
    return encode_png(pixels.astype(np.uint8))


def samples(split: str, count: int) -> list[tuple[str, dict[str, bytes]]]:
    """`count` samples of each class, with their background."""
    found = []
    for label, name in enumerate(NAMES):
        for number in range(count):
            about = {"class_name": name, "background": BACKGROUNDS[number % 2]}
            files = {
                "png": picture(label, number, split),
                "cls": str(label).encode(),
                "json": json.dumps(about).encode(),
            }
            found.append((f"{split}_{label}_{number:02d}", files))
    return found


def write_split(folder: Path, split: str, count: int) -> Path:
    """Write a split as one tar and return its path."""
    path = folder / f"{split}.tar"
    write_tar(path, samples(split, count))
    return path


def write_edits(folder: Path, sources: list[bytes], count: int = 6) -> Path:
    """Write what training reads of an output folder of `augment expand`: edits of these files, in turn."""
    found = []
    for number in range(count * len(NAMES)):
        label = number % len(NAMES)
        made_of = hashlib.sha256(sources[number % len(sources)]).hexdigest()
        about: dict[str, Any] = {"class_name": NAMES[label], "source_sha256": made_of}
        about |= {"source_key": key_of_edited(number), "target_attributes": json.dumps({"sky": "blue"[number % 2 :]})}
        about["label_probability"] = number / 10
        files = {"png": picture(label, number, "edit"), "cls": str(label).encode(), "json": json.dumps(about).encode()}
        found.append((f"edit{number:03d}", files))
    write_tar(folder / "shards" / "train-000000.tar", found)
    (folder / "manifest.json").write_text("{}")
    return folder


def key_of_edited(number: int) -> str:
    """The key of the picture of train, 8 of each class, that an edit names as its source."""
    return f"train_{number % len(NAMES)}_{number // len(NAMES) % 8:02d}"


def files_of(split: str, count: int) -> list[bytes]:
    """The picture files of a split."""
    return [files["png"] for _, files in samples(split, count)]


def write_toy(folder: Path) -> dict[str, Any]:
    """Write train, val, test and edits of train; return the config of a short run as plain data."""
    files = dict(samples("train", 8))
    in_turn = [files[key_of_edited(number)]["png"] for number in range(24)]
    return {
        "data": {
            "real": {"path": str(write_split(folder, "train", 8))},
            "synthetic": {"path": str(write_edits(folder / "edits", in_turn)), "ratio": 0.25},
            "val": {"path": str(write_split(folder, "val", 6))},
            "test": {"path": str(write_split(folder, "test", 4))},
            "groups": ["background", "class"],
            "image_size": SIZE,
        },
        "augmentation": {"flip": 0.5, "cutmix": 1.0},
        "optimizer": {"warmup": 2, "ema_decay": 0.5},
        "steps": 10,
        "batch_size": 8,
        "eval_every": 4,
    }


def toy_config(folder: Path, **changes: Any) -> TrainingConfig:
    """The config of a short run, with other values of some of its keys."""
    return TrainingConfig.model_validate(write_toy(folder) | changes)
