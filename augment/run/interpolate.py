"""`augment interpolate`: images between pairs of images of a class, as a shard, a contact sheet and a report."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from augment.config import ExpandedPath, KeyPath, load_config
from augment.editing import EditConfig
from augment.editing.config import PairEditConfig
from augment.editing.interpolate import generate, invert_images
from augment.editing.inverted import checked_schedule, full_schedule
from augment.editing.pairs import Pair, choose_pairs
from augment.errors import ImageError, InputError
from augment.inputs.colour import ColourName
from augment.inputs.fit import Fit
from augment.inputs.images import decode_image, encode_png
from augment.inputs.readers import read_bytes
from augment.inputs.tensors import to_images, to_pixels
from augment.models.config import ModelConfig, pinned
from augment.models.interface import LatentDiffusion
from augment.models.load import load_model
from augment.models.text_readers import model_readers
from augment.prompts import prompt_source
from augment.prompts.lengths import cut_among, length_findings
from augment.report.contact_sheet import Tile, contact_sheet
from augment.run.config import (
    ExpandConfig,
    InputConfig,
    OutputConfig,
    check_class_names,
    job_sources,
)
from augment.run.findings import Findings, dataset_warnings
from augment.run.job_prompts import source_findings
from augment.run.prompt_file import PromptsField, load_prompts, located, prompts_name
from augment.scoring import psnr
from augment.seeding import seed_for
from augment.storage.local_store import check_local_folder
from augment.storage.tar import write_bytes_atomic, write_tar
from augment.types import Source

logger = logging.getLogger(__name__)
PSNR_CEILING = 100.0  # dB, of an exact reconstruction
SHARD, SHEET = "interpolated.tar", "contact_sheet.png"
Sample = tuple[str, dict[str, bytes]]  # key, files by extension


class InterpolateConfig(BaseModel):
    """The interpolation job, as in `configs/interpolate/emoji.yaml`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    input: InputConfig
    output: ExpandedPath = Field(description="output folder, relative to the working directory")
    model: ModelConfig = ModelConfig()
    prompts: PromptsField = Field(
        description="YAML file of prompts, or text file with one in each line, relative to this file; or the prompts "
        "themselves; every pair draws one"
    )
    editing: PairEditConfig = EditConfig(strength=1.0)
    pairs_per_class: int = Field(default=1, ge=1, description="pairs of images, different ones, of each class")
    weights: tuple[Annotated[float, Field(ge=0, le=1)], ...] = Field(
        default=(0.25, 0.5, 0.75),
        min_length=1,
        description="one image of each pair per weight: 0 first, 1 second image",
    )
    batch_size: int = Field(default=8, ge=1, description="pairs inverted together")
    sheet_rows: int = Field(default=16, ge=1, description="pairs on the contact sheet")
    seed: int = Field(default=0, description="another seed, other pairs and prompts")


@dataclass(frozen=True)
class InterpolatedPair:
    """The results of a pair: samples of the shard, tiles of the contact sheet, and its row in the report."""

    samples: list[Sample]
    tiles: list[Tile]
    row: dict[str, Any]


def load_interpolate_config(path: Path | str, overrides: Sequence[str] = ()) -> InterpolateConfig:
    """Return the config of a file with absolute `prompts`, as `load_expand_config` does. Raises ConfigError."""
    origins: dict[KeyPath, str] = {}
    config = load_config(path, InterpolateConfig, overrides, origins=origins)
    prompts = located(config.prompts, path, overrides=overrides, origins=origins)
    return config.model_copy(update={"prompts": prompts})


def interpolate_dataset(config: InterpolateConfig) -> dict[str, Any]:
    """Write `interpolated.tar`, `contact_sheet.png` and `report.json` to the output folder; return the report.

    Raises:
        ConfigError, InputError, OutputError, PromptError, ModelError: if the config or an image cannot be used; before
            anything is written.
    """
    check_local_folder(config.output, "output")
    fit = Fit(config.input.fit, config.input.image_size)
    if fit.sizes_differ:
        raise InputError(
            f"input.fit {fit.name!r} gives images of different sizes, and there is nothing between two of those; "
            "take `crop` or `stretch`"
        )
    config = config.model_copy(update={"model": pinned(config.model)})
    pairs = _pairs(config)
    images = {s.key: _decoded(s, fit, config.input.colour) for pair in pairs for s in (pair.a, pair.b)}
    model = load_model(config.model)
    if config.input.image_size % model.factor:
        raise InputError(
            f"input.image_size {config.input.image_size} is not a multiple of {model.factor}, as images of "
            f"{config.model.name!r} must be"
        )
    checked_schedule(model, config.editing, "editing", config.input.image_size)
    made: list[InterpolatedPair] = []

    def samples() -> Iterator[Sample]:
        for start in range(0, len(pairs), config.batch_size):
            batch = _make(model, pairs[start : start + config.batch_size], images, config)
            made.extend(batch)
            yield from (sample for pair in batch for sample in pair.samples)

    count = write_tar(config.output / SHARD, samples())
    title = f"{len(pairs)} pairs, {model.model_id}: images from noise between the noises of two"
    sheet = contact_sheet([m.tiles for m in made[: config.sheet_rows]], title)
    known = [value for m in made for value in m.row["psnr"] if value is not None]
    report = {
        "settings": config.model_dump(mode="json"),
        "images": count,
        "failed": sum(len(m.row["failed_weights"]) for m in made),
        "mean_reconstruction_psnr": sum(known) / max(1, len(known)),
        "pairs": [m.row for m in made],
    }
    write_bytes_atomic(config.output / SHEET, sheet)
    write_bytes_atomic(config.output / "report.json", (json.dumps(report, indent=2) + "\n").encode())
    return report


def summary_lines(report: dict[str, Any]) -> list[str]:
    """Return lines for a person."""
    out = Path(report["settings"]["output"])
    return [
        f"images          {report['images']} between {len(report['pairs'])} pairs, {report['failed']} failed",
        f"reconstruction  {report['mean_reconstruction_psnr']:.2f} dB mean PSNR of the images interpolated between",
        f"shard           {out / SHARD}",
        f"contact sheet   {out / SHEET}",
    ]


def _pairs(config: InterpolateConfig) -> list[Pair]:
    """Return the pairs of a job, once its dataset and its prompts were looked at as `expand` looks at its own."""
    output = OutputConfig(path=str(config.output))
    job = ExpandConfig(input=config.input, output=output, prompts=config.prompts)
    prompts = load_prompts(config.prompts)
    sources, class_names, left_out = job_sources(job, prompts.columns)
    check_class_names(job, prompts, class_names)
    where = f"{prompts_name(config.prompts)}: "
    planner = prompt_source(prompts, class_names.values(), sources)
    wrong, odd = source_findings(config.input.format, prompts, planner, sources, class_names)
    Findings(tuple(where + text for text in wrong)).raise_any()
    pairs = choose_pairs(sources, prompts, config.pairs_per_class, config.seed, set(class_names.values()))
    lost, shortened = _length_findings(config.model, pairs)
    Findings(tuple(where + text for text in lost)).raise_any()
    for name in ("llm", "caption"):
        if getattr(prompts, name) is not None:
            odd.append(f"{name} is not asked here: only `augment prompts` asks it. The prompts are those without it")
    of_prompts = (where + text for text in (*odd, *shortened))
    for warning in (*dataset_warnings(config.input, sources, class_names, left_out), *of_prompts):
        logger.warning("warning: %s", warning)
    return pairs


def _length_findings(config: ModelConfig, pairs: Sequence[Pair]) -> tuple[list[str], list[str]]:
    """Return problems and warnings about the prompts that the model does not read whole."""
    readers = model_readers(config)
    wanted: dict[str, str] = {}
    for pair in pairs:
        for source, prompt in ((pair.a, pair.prompt_a), (pair.b, pair.prompt_b)):
            wanted.setdefault(prompt, "" if source.caption else source.class_name)
        wanted[pair.target] = pair.a.class_name
    return length_findings(cut_among(wanted, readers), len(wanted), readers)


def _make(
    model: LatentDiffusion, batch: Sequence[Pair], images: dict[str, np.ndarray], config: InterpolateConfig
) -> list[InterpolatedPair]:
    editing = config.editing
    seeds = [seed_for("interpolation", config.seed, p.a.key, p.b.key) for p in batch]
    ends, noises, again = [], [], []
    for sources, prompts in (
        ([p.a for p in batch], [p.prompt_a for p in batch]),
        ([p.b for p in batch], [p.prompt_b for p in batch]),
    ):
        ends.append(to_images(np.stack([images[s.key] for s in sources])))
        noises.append(invert_images(model, ends[-1], prompts, editing, seeds=seeds))
        again.append(generate(model, noises[-1], prompts, editing, editing.inversion_guidance_scale))
    targets = [p.target for p in batch]
    between = [
        generate(model, noises[0].towards(noises[1], w), targets, editing, editing.guidance_scale)
        for w in config.weights
    ]
    values = [psnr(r, x).tolist() for r, x in zip(again, ends, strict=True)]
    return [
        _finished(model, pair, config, [_png(x[i]) for x in (*ends, *again)], [v[i] for v in values], list(pictures))
        for i, (pair, pictures) in enumerate(zip(batch, torch.stack(between, dim=1), strict=True))
    ]


def _finished(
    model: LatentDiffusion,
    pair: Pair,
    config: InterpolateConfig,
    known: list[bytes],
    psnr_of_ends: list[float],
    pictures: list[Tensor],
) -> InterpolatedPair:
    """Return the samples, tiles and report row of a pair.

    Args:
        known: PNGs of the two images and of their two reconstructions.
        psnr_of_ends: of the two reconstructions, in dB.
        pictures: float [3, H, W] in -1..1, one per weight.
    """
    row: dict[str, Any] = {
        "key": pair.key,
        "class_name": pair.a.class_name,
        "sources": [pair.a.key, pair.b.key],
        "source_prompts": [pair.prompt_a, pair.prompt_b],
        "target_prompt": pair.target,
        "psnr": [value if math.isfinite(value) else None for value in psnr_of_ends],
    }
    same = row | {"model_id": model.model_id, "model_revision": model.revision, "seed": config.seed}
    same |= {
        "sampler": full_schedule(model, config.editing, config.input.image_size).name,
        "editing": config.editing.identity(),
    }
    same |= {"psnr": [min(value, PSNR_CEILING) if math.isfinite(value) else 0.0 for value in psnr_of_ends]}
    row["failed_weights"] = []
    samples: list[Sample] = []
    first, second = (f"reconstruction, {value:.1f} dB" for value in psnr_of_ends)
    tiles = [Tile(known[0], pair.prompt_a), Tile(known[2], first)]
    for k, (weight, picture) in enumerate(zip(config.weights, pictures, strict=True)):
        if not torch.isfinite(picture).all():
            tiles.append(Tile(b"", f"{weight:g}", "failed", "NaN or infinity"))
            row["failed_weights"].append(weight)
            continue
        png, key = _png(picture), f"{pair.key}-{k}"
        details = json.dumps(same | {"key": key, "weight": weight}, sort_keys=True) + "\n"
        tiles.append(Tile(png, f"{weight:g}: {pair.target}"))
        files = {"png": png, "cls": str(pair.a.label).encode(), "txt": pair.target.encode(), "json": details.encode()}
        samples.append((key, files))
    return InterpolatedPair(samples, [*tiles, Tile(known[3], second), Tile(known[1], pair.prompt_b)], row)


def _png(image: Tensor) -> bytes:
    """Return an image, float [3, H, W] in -1..1, as PNG."""
    return encode_png(to_pixels(image[None])[0])


def _decoded(source: Source, fit: Fit, colour: ColourName) -> np.ndarray:
    try:
        return np.asarray(decode_image(read_bytes(source), fit, colour=colour))
    except ImageError as error:
        raise InputError(f"{source.place}: {error}; remove it from the dataset") from error
