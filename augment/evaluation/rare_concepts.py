"""`augment rare-concepts`: pictures of classes the model has seldom seen, from random and from interpolated noise."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from augment.editing.config import PairEditConfig
from augment.editing.inverted import checked_schedule
from augment.errors import InputError
from augment.evaluation.tables import figure, with_nulls
from augment.inputs.images import encode_png
from augment.inputs.tensors import to_pixels
from augment.models.clip import load_clip
from augment.models.config import ModelConfig
from augment.models.load import load_model
from augment.storage.tar import write_bytes_atomic
from augment.tiny.evaluate import (
    Pictures,
    accuracy,
    load_judge,
    load_split,
)
from augment.tiny.rare import (
    METHODS,
    Made,
    long_tailed_model,
    make_pictures,
    random_pictures,
    score_pictures,
)
from augment.tiny.training import StageConfig, TrainConfig
from augment.tiny.world import BACKGROUNDS, CLASSES

GRID_COLUMNS, GRID_GAP = 16, 8


def _known_classes(names: tuple[str, ...]) -> tuple[str, ...]:
    if unknown := [name for name in names if name not in CLASSES]:
        raise ValueError(f"{unknown[0]!r} is no class of emoji world; there are {', '.join(CLASSES)}")
    return names


class RareConfig(BaseModel):
    """`configs/interpolate/rare.yaml`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rare: Annotated[tuple[str, ...], AfterValidator(_known_classes)] = Field(min_length=1, description="rare classes")
    rarity: int = Field(ge=1, description="one in so many scenes of a rare class is kept")
    num_scenes: int = Field(gt=0, description="rendered training scenes before the rare classes are thinned out")
    training: StageConfig = Field(description="how the words of the classes are learnt again")
    work_dir: Path = Field(description="scenes and checkpoint; a second run goes on from there")
    split: Literal["train", "val", "test"] = Field(default="val", description="where the few real pictures come from")
    images_per_prompt: int = Field(default=4, ge=2, description="pictures of each method at each of the 8 prompts")
    weight: float = Field(default=0.5, ge=0, le=1, description="share of the second picture in the interpolation")
    generation: PairEditConfig = Field(description="settings of inversion and sampling, with strength 1")
    device: str = Field(default="cpu", description="`cpu` or `cuda`")
    seed: int = 0

    @model_validator(mode="after")
    def _consistent(self) -> RareConfig:
        if self.generation.strength != 1.0:
            raise ValueError(f"generation.strength must be 1, the whole schedule, not {self.generation.strength}")
        return self


def run_rare_concepts(config: RareConfig, out: Path) -> dict[str, Any]:
    """Train or resume, make the pictures, compare; write `out`/report.json and `out`/rare_concepts.png."""
    shipped = load_model(ModelConfig(device=config.device))
    checked_schedule(shipped, config.generation, "generation")
    pictures = load_split(config.split)
    real = {name: _of_class(pictures, name) for name in config.rare}
    needed = 2 * config.images_per_prompt
    if few := [name for name in config.rare if len(real[name].sources) < needed]:
        raise InputError(
            f"split {config.split!r} has {len(real[few[0]].sources)} pictures of {few[0]!r}, but images_per_prompt "
            f"{config.images_per_prompt} needs {needed}, two different ones for each; lower it"
        )
    tailed = long_tailed_model(config.rare, config.rarity, _train_config(config))
    judge, clip = load_judge(), load_clip()

    def random_accuracy(model: Any, names: Sequence[str]) -> dict[str, float]:
        settings = (1, config.generation, config.seed)
        images = torch.cat([random_pictures(model, name, *settings).flatten(0, 1) for name in names])
        wanted = [name for name in names for _ in BACKGROUNDS]
        return {"accuracy": accuracy(judge, images, "object", wanted), "n": len(wanted)}

    frequent = [name for name in CLASSES if name not in config.rare]
    report: dict[str, Any] = {
        "settings": config.model_dump(mode="json"),
        "revision": tailed.model.revision,
        "scenes": tailed.scenes,
        "references": {
            "rare classes, shipped model": random_accuracy(shipped, config.rare),
            "frequent classes, long-tailed model": random_accuracy(tailed.model, frequent) if frequent else None,
        },
        "rows": [],
        "grid": ["real", *METHODS],
    }
    grid = []
    for name in config.rare:
        made = make_pictures(
            tailed.model, real[name], config.images_per_prompt, config.weight, config.generation, config.seed
        )
        for method, images in made.by_method.items():
            scores = asdict(score_pictures(images, real[name], judge, clip))
            report["rows"].append({"class": name, "method": method, **scores})
        grid.append(_grid_block(real[name], made))
    report["overall"] = [_overall([r for r in report["rows"] if r["method"] == method]) for method in METHODS]
    write_bytes_atomic(out / "rare_concepts.png", encode_png(np.concatenate(grid)))
    write_bytes_atomic(out / "report.json", (json.dumps(with_nulls(report), indent=2, allow_nan=False) + "\n").encode())
    return report


def table_lines(report: dict[str, Any]) -> list[str]:
    """Return the report as lines of a Markdown table."""
    lines = [f"{name}: {r['accuracy']:.2f} ({r['n']})" for name, r in report["references"].items() if r]
    columns = [name for name in report["overall"][0] if name not in ("method", "accuracy_error", "n")]
    titles = " | ".join(name.replace("_", " ") for name in columns)
    lines += ["", f"| class | noise | n | {titles} |", "|---" * (len(columns) + 3) + "|"]
    for row in [*report["rows"], *report["overall"]]:
        cells = [figure(row[name], ".3f") for name in columns]
        lines.append(f"| {row.get('class', 'all')} | {row['method']} | {row['n']} | {' | '.join(cells)} |")
    return lines


def _of_class(pictures: Pictures, name: str) -> Pictures:
    places = [i for i, source in enumerate(pictures.sources) if source.class_name == name]
    return Pictures(pictures.images[places], [pictures.sources[i] for i in places])


def _train_config(config: RareConfig) -> TrainConfig:
    """Return a training config of which only the stage `unet` is used; a training config must have the others."""
    return TrainConfig(
        seed=config.seed,
        device=config.device,
        work_dir=config.work_dir,
        output_dir=config.work_dir,
        num_scenes=config.num_scenes,
        checkpoint_every=50,
        **dict.fromkeys(("vae", "judge", "clip", "unet", "student"), config.training),
    )


def _overall(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return means over the classes, with the standard error of the accuracy.

    The error takes pictures for independent, though some share a real picture.
    """
    n = sum(row["n"] for row in rows)
    means: dict[str, Any] = {"method": rows[0]["method"]}
    for name in (name for name in rows[0] if name not in ("class", "method", "n")):
        known = [row[name] for row in rows if row[name] is not None]
        means[name] = sum(known) / len(known) if known else None
    error = math.sqrt(means["accuracy"] * (1.0 - means["accuracy"]) / n)
    return means | {"accuracy_error": error, "n": n}


def _grid_block(real: Pictures, made: Made) -> np.ndarray:
    """Return rows real, then the methods, of one class; a column is one prompt in all methods. uint8 [H, W, 3]."""

    def row(images: Tensor) -> Tensor:
        return torch.cat(list(images[:GRID_COLUMNS]), dim=2)

    # The first pictures of all prompts, then the second ones.
    rows = [row(real.images), *(row(images.transpose(0, 1).flatten(0, 1)) for images in made.by_method.values())]
    block = torch.nn.functional.pad(torch.cat(rows, dim=1), (0, 0, 0, GRID_GAP), value=1.0)
    return to_pixels(block[None])[0]
