"""Small datasets in the shapes in which people keep theirs."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from augment.inputs.images import encode_png
from augment.storage.tar import write_tar

Writer = Callable[[Path], Path]


def picture(seed: int, size: tuple[int, int] = (64, 48), *, grey: bool = False, white: bool = False) -> np.ndarray:
    """Pixels [H, W, 3] of noise, in grey, or on white paper."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    if grey:
        pixels[:] = pixels[..., :1]
    if white:
        pixels[:8], pixels[-8:], pixels[:, :8], pixels[:, -8:] = 255, 255, 255, 255
    return pixels


def folders(*names: str, **look: Any) -> Writer:
    """Write a dataset with these folders of two pictures each."""

    def write(root: Path) -> Path:
        for i, name in enumerate(names):
            (root / name).mkdir(parents=True)
            for j in range(2):
                Image.fromarray(picture(10 * i + j, **look)).save(root / name / f"{j}.png")
        return root

    return write


def tars(root: Path) -> Path:
    """Write a tar for training with captions and class names, and one for validation."""
    root.mkdir()
    for split in ("train", "val"):
        samples = [
            (
                f"{split}{i}",
                {
                    "png": encode_png(picture(i)),
                    "cls": str(i % 2).encode(),
                    "txt": b"a fox on snow",
                    "json": json.dumps({"class_name": ("red_fox", "snow_owl")[i % 2]}).encode(),
                },
            )
            for i in range(4)
        ]
        write_tar(root / f"{split}-000000.tar", samples)
    return root


def nameless_tar(root: Path) -> Path:
    """Write a tar whose classes are numbers only."""
    root.mkdir()
    samples = [(f"s{i}", {"png": encode_png(picture(i)), "cls": str(5 * i).encode()}) for i in range(3)]
    write_tar(root / "a.tar", samples)
    return root


def table(root: Path) -> Path:
    """Write a CSV manifest with names as labels, a split and a caption, and a list that is no manifest."""
    folders("all")(root)
    with (root / "labels.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "split", "prompt"])
        writer.writerow(["all/0.png", "red_fox", "train", "a red fox"])
        writer.writerow(["all/1.png", "SnowOwl", "train", ""])
        writer.writerow(["all/1.png", "SnowOwl", "test", ""])
    (root / "authors.csv").write_text("name,year\nsomebody,2020\n")
    return root


def flat(root: Path) -> Path:
    """Write pictures without class folders."""
    folders("x")(root.parent / "scratch")
    (root.parent / "scratch" / "x").rename(root)
    return root


@dataclass(frozen=True)
class Shape:
    """A dataset, and what is to be seen of it.

    Attributes:
        write: writes it into a folder that is not there yet.
        words: key of a class -> its words.
        format, domain: as seen.
        images: number.
        says: parts of notes.
    """

    write: Writer
    words: Mapping[str, str]
    domain: str = "natural"
    format: str = "imagefolder"
    images: int = 4
    says: tuple[str, ...] = ()


SHAPES: dict[str, Shape] = {
    "imagenet": Shape(
        folders("n02099601_golden_retriever", "n01440764", "n02119789_kit_fox"),
        {"n01440764": "n01440764", "n02099601_golden_retriever": "golden retriever", "n02119789_kit_fox": "kit fox"},
        images=6,
        says=("1 of 3 classes are called by codes or numbers", "n02119789_kit_fox -> kit fox"),
    ),
    "birds": Shape(  # CUB: pictures in a folder of their own, beside tables
        folders("images/001.Black_footed_Albatross", "images/002.Laysan_Albatross", "attributes", "parts"),
        {
            "001.Black_footed_Albatross": "Black footed Albatross",
            "002.Laysan_Albatross": "Laysan Albatross",
        },
        says=("001.Black_footed_Albatross -> Black footed Albatross",),
    ),
    "snake": Shape(folders("red_fox", "snow_owl"), {"red_fox": "red fox", "snow_owl": "snow owl"}),
    "camel": Shape(folders("RedFox", "BMWCar"), {"BMWCar": "BMW car", "RedFox": "red fox"}),
    "german": Shape(
        folders("Rotfuchs", "Deutscher_Schäferhund", "Katze", "Igel"),
        {"Deutscher_Schäferhund": "Deutscher Schäferhund", "Igel": "Igel", "Katze": "Katze", "Rotfuchs": "Rotfuchs"},
        images=8,
    ),
    "chinese": Shape(folders("金毛犬", "猫", "狐狸"), {"狐狸": "狐狸", "猫": "猫", "金毛犬": "金毛犬"}, images=6),
    "bottle": Shape(  # one object of MVTec AD
        folders("train/good", "test/good", "test/broken_large", "ground_truth/broken_large"),
        {"good": "good"},
        domain="defects",
        images=2,
        says=("test left alone", "with one class there is nothing to compare"),
    ),
    "surfaces": Shape(
        folders("good", "deep-scratch", "oil_stain"),
        {"deep-scratch": "deep scratch", "good": "good", "oil_stain": "oil stain"},
        domain="defects",
        images=6,
    ),
    "chest_xray": Shape(
        folders("train/NORMAL", "train/PNEUMONIA", "val/NORMAL", "val/PNEUMONIA", "test/NORMAL", grey=True),
        {"NORMAL": "NORMAL", "PNEUMONIA": "PNEUMONIA"},
        domain="medical",
        says=("test, val left alone",),
    ),
    "eurosat": Shape(
        folders("AnnualCrop", "SeaLake", "HerbaceousVegetation"),
        {"AnnualCrop": "annual crop", "HerbaceousVegetation": "herbaceous vegetation", "SeaLake": "sea lake"},
        domain="satellite",
        images=6,
    ),
    "shards": Shape(
        tars,
        {"red_fox": "red fox", "snow_owl": "snow owl"},
        format="webdataset",
        says=("tars of val left alone", "4 of 4 images have a caption"),
    ),
    "labels": Shape(
        nameless_tar,
        {"0": "0", "5": "5", "10": "10"},
        domain="neutral",
        format="webdataset",
        images=3,
        says=("3 of 3 classes are called by codes or numbers",),
    ),
    "table": Shape(
        table,
        {"SnowOwl": "snow owl", "red_fox": "red fox"},
        format="manifest",
        images=2,
        says=("1 rows of test left alone", "1 of 2 images have a caption"),
    ),
    "barn_owl": Shape(flat, {"0": "barn owl"}, format="flat", images=2),
    "splits": Shape(folders("train/fox", "train/owl", "valid/fox", "test/owl"), {"fox": "fox", "owl": "owl"}),
    "goods": Shape(
        folders("coffee-mug", "TShirt", "running_shoe", "0_desk lamp", white=True),
        {"0_desk lamp": "desk lamp", "TShirt": "TShirt", "coffee-mug": "coffee mug", "running_shoe": "running shoe"},
        domain="products",
        images=8,
    ),
    "numbers": Shape(
        folders("0", "1", "10"),
        {"0": "0", "1": "1", "10": "10"},
        domain="neutral",
        images=6,
        says=("3 of 3 classes are called by codes or numbers",),
    ),
}
