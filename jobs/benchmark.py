"""`augment benchmark`: inversion methods, and the edits made with them, on the same images in one run."""

from __future__ import annotations

import json
import platform
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field

from augment.data.tar import write_bytes_atomic
from augment.editing import EditConfig
from augment.evaluation import InversionMethod, measure_inversion, round_trip_psnr
from augment.models.clip import load_clip
from augment.models.config import ModelConfig
from augment.models.interface import LatentDiffusion
from augment.models.load import load_model
from augment.tiny.evaluate import (
    Editor,
    Pictures,
    image_to_image_editor,
    inversion_editor,
    load_judge,
    load_split,
    score_background_edits,
)


class InversionSection(BaseModel):
    """Reconstruction: every method at every number of steps."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_steps: tuple[int, ...] = Field(description="lengths of the schedule")
    guidance_scale: float = Field(default=1.0, ge=1, description="guidance while inverting and sampling back")
    methods: tuple[InversionMethod, ...] = Field(description="solvers with their iteration limits")
    repeats: int = Field(default=1, ge=1, description="interleaved repeats; seconds are medians")


class EditingMethod(InversionMethod):
    """One row of the editing table; strength and guidance default to the section's."""

    strength: float | None = Field(default=None, gt=0, le=1, description="instead of the section's")
    guidance_scale: float | None = Field(default=None, ge=1, description="instead of the section's")


class FreshNoise(BaseModel):
    """An image-to-image row: fresh noise instead of inversion."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    strength: float | None = Field(default=None, gt=0, le=1, description="instead of the section's")
    guidance_scale: float | None = Field(default=None, ge=1, description="instead of the section's")


class EditingSection(BaseModel):
    """Background edits of emoji world, judged by the classifier trained on renders."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    settings: EditConfig = Field(description="of every row; the solver and its limits are replaced by the row's")
    methods: tuple[EditingMethod, ...] = Field(description="solvers with their iteration limits")
    image_to_image: tuple[FreshNoise, ...] = Field(default=(FreshNoise(),), description="rows without inversion")


class BenchmarkConfig(BaseModel):
    """`configs/benchmark/*.yaml`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: ModelConfig = ModelConfig()
    split: Literal["train", "val", "test"] = Field(default="val", description="shipped split the images come from")
    num_images: int = Field(default=64, ge=1, description="the first so many pictures of the split")
    batch_size: int = Field(default=16, ge=1, description="images inverted together")
    inversion: InversionSection | None = Field(default=None, description="reconstruction table")
    editing: EditingSection | None = Field(default=None, description="editing table")


def run(config: BenchmarkConfig, out: Path) -> dict[str, Any]:
    """Measure what the config asks for; write and return `out`/report.json."""
    model = load_model(config.model)
    pictures = load_split(config.split, config.num_images)
    report: dict[str, Any] = {
        "bound_psnr": float(round_trip_psnr(model, pictures.images).mean()),
        "n": len(pictures.sources),
        "split": config.split,
        "model": model.model_id,
        "revision": model.revision,
        "machine": {"processor": platform.machine(), "threads": torch.get_num_threads(), "device": str(model.device)},
        "rows": [],
    }
    if config.inversion is not None:
        for num_steps in config.inversion.num_steps:
            rows = measure_inversion(
                model,
                pictures.images,
                pictures.captions,
                config.inversion.methods,
                num_steps=num_steps,
                guidance_scale=config.inversion.guidance_scale,
                batch_size=config.batch_size,
                repeats=config.inversion.repeats,
            )
            report["rows"] += [asdict(row) for row in rows]
    if config.editing is not None:
        report["editing"] = _edit_rows(config.editing, model, pictures, config.batch_size)
    out.mkdir(parents=True, exist_ok=True)
    write_bytes_atomic(out / "report.json", (json.dumps(report, indent=2) + "\n").encode())
    return report


def table_lines(report: dict[str, Any]) -> list[str]:
    """The report as Markdown tables."""
    lines = [f"{report['n']} images of {report['split']}, VAE bound {report['bound_psnr']:.2f} dB", ""]
    if report["rows"]:
        names = (
            "solver",
            "iterations",
            "evaluations per step",
            "PSNR, dB",
            "below the bound, dB",
            "latent error",
            "ms",
        )
        lines += [f"| {' | '.join(names)} |"]
        lines += ["|---" * len(names) + "|"]
    for r in report["rows"]:
        cells = (
            f"{r['evaluations_per_step']:.1f}",
            f"{r['psnr']:.2f}",
            f"{r['gap']:.2f}",
            f"{100 * r['latent_error']:.1f} %",
        )
        milliseconds = f"{1e3 * r['seconds_per_image']:.0f}"
        name = " ".join([f"`{r['solver']}`", *(f"{k} = {v:g}" for k, v in r["settings"].items())])
        limits = f"{r['first_max_steps'] or r['max_steps']} + {r['max_steps']} × {r['num_steps'] - 1}"
        lines.append(f"| {name} | {limits} | {' | '.join(cells)} | {milliseconds} |")
    if report.get("editing"):
        lines += ["", "| method | strength | guidance | target background shown | object kept | text alignment |"]
        lines += ["|---|---|---|---|---|---|"]
    for r in report.get("editing", []):
        shares = f"{100 * r['background_reached']:.1f} % | {100 * r['object_kept']:.1f} %"
        settings = f"{r['strength']:g} | {r['guidance_scale']:g}"
        lines.append(f"| `{r['method']}` | {settings} | {shares} | {r['text_alignment']:.3f} |")
    return lines


def _edit_rows(
    section: EditingSection, model: LatentDiffusion, pictures: Pictures, batch_size: int
) -> list[dict[str, Any]]:
    judge, clip = load_judge(), load_clip()
    rows: list[tuple[dict[str, Any], EditConfig, Editor]] = []
    for method in section.methods:
        config = _with(section.settings, method).model_copy(update={"solver": method.solver, "stop": method.stop})
        about = {"method": method.solver["name"], "solver": method.solver, "stop": method.stop.model_dump()}
        rows.append((about, config, inversion_editor(model, config)))
    for fresh in section.image_to_image:
        config = _with(section.settings, fresh)
        rows.append(({"method": "image_to_image"}, config, image_to_image_editor(model, config)))
    return [
        about
        | config.model_dump(include={"num_steps", "strength", "guidance_scale"})
        | asdict(score_background_edits(pictures, editor, judge, clip, batch_size))
        for about, config, editor in rows
    ]


def _with(settings: EditConfig, row: EditingMethod | FreshNoise) -> EditConfig:
    own = row.model_dump(include={"strength", "guidance_scale"}, exclude_none=True)
    return settings.model_copy(update=own)
