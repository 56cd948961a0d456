"""The editing table of the benchmark: background edits of emoji world with every method, judged."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from augment.editing import EditConfig, full_schedule
from augment.evaluation import InversionMethod
from augment.models.clip import ClipScorer
from augment.models.interface import LatentDiffusion
from augment.tiny.evaluate import (
    Editor,
    Pictures,
    image_to_image_editor,
    inversion_editor,
    load_judge,
    score_background_edits,
)


class EditingMethod(InversionMethod):
    """One row of the editing table; strength and guidance default to the section's."""

    strength: float | None = Field(default=None, gt=0, le=1, description="instead of the section's")
    guidance_scale: float | None = Field(default=None, ge=1, description="instead of the section's")
    adjustment_strength: float | None = Field(default=None, ge=0, le=1, description="instead of the section's")


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


def measure_editing(
    model: LatentDiffusion, pictures: Pictures, section: EditingSection, clip: ClipScorer, batch_size: int = 32
) -> list[dict[str, Any]]:
    """The report's rows: what the method is, and its `EditScores`."""
    judge = load_judge()
    rows: list[tuple[dict[str, Any], EditConfig, Editor]] = []
    for method in section.methods:
        config = _with(section.settings, method).model_copy(update={"solver": method.solver, "stop": method.stop})
        about = {"method": method.solver["name"], "solver": method.solver, "stop": method.stop.model_dump()}
        rows.append((about, config, inversion_editor(model, config)))
    for fresh in section.image_to_image:
        config = _with(section.settings, fresh)
        rows.append(({"method": "image_to_image"}, config, image_to_image_editor(model, config)))
    # Untimed: the first edits of a process pay for kernel selection and memory.
    first = Pictures(pictures.images[:batch_size], pictures.sources[:batch_size])
    score_background_edits(first, image_to_image_editor(model, section.settings), judge, clip, batch_size)
    return [
        about
        | {"sampler": full_schedule(model, config).name}
        | config.model_dump(include={"num_steps", "strength", "guidance_scale", "adjustment_strength"})
        | asdict(score_background_edits(pictures, editor, judge, clip, batch_size))
        for about, config, editor in rows
    ]


def _with(settings: EditConfig, row: EditingMethod | FreshNoise) -> EditConfig:
    names = {"strength", "guidance_scale", "adjustment_strength"}
    own = row.model_dump(include=names, exclude_none=True)
    return settings.model_copy(update=own)
