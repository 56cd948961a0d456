"""`augment benchmark`: inversion methods, and the edits made with them, on the same images in one run."""

from __future__ import annotations

import json
import platform
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field

from augment.data.tar import write_bytes_atomic
from augment.editing import EditConfig
from augment.evaluation import InversionMethod, measure_inversion, round_trip_psnr
from augment.models.clip import load_clip
from augment.models.interface import LatentDiffusion
from augment.models.load import ModelConfig, load_model
from augment.tiny.evaluate import (
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


class EditingSection(BaseModel):
    """Background edits of emoji world, judged by the classifier trained on renders."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    settings: EditConfig = Field(description="of every row; the solver and its limits are replaced by the row's")
    methods: tuple[InversionMethod, ...] = Field(description="solvers with their iteration limits")
    image_to_image: bool = Field(default=True, description="also fresh noise at the same strength, without inversion")


class BenchmarkConfig(BaseModel):
    """`configs/benchmark/*.yaml`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: ModelConfig = ModelConfig()
    split: str = Field(default="val", description="shipped split the images come from")
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
        lines += ["| solver | steps | evaluations per step | PSNR, dB | below the bound, dB | ms per image |"]
        lines += ["|---|---|---|---|---|---|"]
    for r in report["rows"]:
        cells = (f"{r['evaluations_per_step']:.1f}", f"{r['psnr']:.2f}", f"{r['gap']:.2f}")
        milliseconds = f"{1e3 * r['seconds_per_image']:.0f}"
        lines.append(f"| `{r['solver']}` | {r['num_steps']} | {' | '.join(cells)} | {milliseconds} |")
    if report.get("editing"):
        lines += ["", "| method | target background shown | object kept | text alignment | source similarity |"]
        lines += ["|---|---|---|---|---|"]
    for r in report.get("editing", []):
        shares = f"{100 * r['background_reached']:.1f} % | {100 * r['object_kept']:.1f} %"
        lines.append(f"| `{r['method']}` | {shares} | {r['text_alignment']:.3f} | {r['source_similarity']:.3f} |")
    return lines


def _edit_rows(
    section: EditingSection, model: LatentDiffusion, pictures: Pictures, batch_size: int
) -> list[dict[str, Any]]:
    judge, clip = load_judge(), load_clip()
    editors = {
        method.solver["name"]: inversion_editor(
            model, section.settings.model_copy(update={"solver": method.solver, "stop": method.stop})
        )
        for method in section.methods
    }
    if section.image_to_image:
        editors["image_to_image"] = image_to_image_editor(model, section.settings)
    rows = []
    for name, editor in editors.items():
        scores = score_background_edits(pictures, editor, judge, clip, batch_size)
        settings = section.settings
        about = {"method": name, "strength": settings.strength, "guidance_scale": settings.guidance_scale}
        rows.append(about | {"num_steps": settings.num_steps} | asdict(scores))
    return rows
