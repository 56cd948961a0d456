"""The editing table of the benchmark: background edits of emoji world with every method, judged."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from augment.editing import EditConfig
from augment.editing.config import PlainEditConfig
from augment.editing.inverted import checked_schedule, full_schedule
from augment.evaluation.pool import InversionMethod
from augment.models.clip import ClipScorer
from augment.models.interface import LatentDiffusion
from augment.tiny.evaluate import (
    EditFunction,
    Pictures,
    image_to_image_editor,
    inversion_editor,
    load_judge,
    score_background_edits,
)

ROW_FIELDS = ("sampler", "strength", "guidance_scale", "adjustment_strength", "match_noise")


class RowSettings(BaseModel):
    """What a row of the editing table may have of its own; what it leaves out is the section's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sampler: str | None = Field(default=None, description="instead of the section's")
    strength: float | None = Field(default=None, gt=0, le=1, description="instead of the section's")
    guidance_scale: float | None = Field(default=None, ge=1, description="instead of the section's")

    def applied(self, settings: EditConfig) -> EditConfig:
        """Return the section's settings with this row's own in their place."""
        own = {k: v for k, v in self.model_dump(exclude_none=True).items() if k in ROW_FIELDS}
        return settings.model_copy(update=own)


class EditingMethod(RowSettings, InversionMethod):
    """A row of inversion and edit."""

    adjustment_strength: float | None = Field(default=None, ge=0, le=1, description="instead of the section's")
    match_noise: bool | None = Field(default=None, description="instead of the section's")


class FreshNoise(RowSettings):
    """A row of image to image: fresh noise instead of inversion."""


class EditingSection(BaseModel):
    """Background edits of emoji world, judged by the classifier trained on renders."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    settings: PlainEditConfig = Field(
        description="settings of every row; solver, first guess and limits are the row's own"
    )
    methods: tuple[EditingMethod, ...] = Field(min_length=1, description="solvers with their iteration limits")
    image_to_image: tuple[FreshNoise, ...] = Field(default=(FreshNoise(),), description="rows without inversion")

    @model_validator(mode="after")
    def _has_no_masks(self) -> Self:
        if self.settings.preserve == "mask":
            raise ValueError(
                "settings.preserve: mask needs a mask of every picture, and the shipped splits have none; take "
                "attention or difference, or the section `instance`, whose scenes have the true ones"
            )
        return self


def check_editing(model: LatentDiffusion, section: EditingSection) -> None:
    """Raise ModelError for a row that the model cannot run."""
    for row in (*section.methods, *section.image_to_image):
        checked_schedule(model, row.applied(section.settings), "editing.settings")


def measure_editing(
    model: LatentDiffusion, pictures: Pictures, section: EditingSection, clip: ClipScorer, batch_size: int = 32
) -> list[dict[str, Any]]:
    """Return the report's rows: what the method is, and its `EditScores`."""
    judge = load_judge()
    rows: list[tuple[dict[str, Any], EditConfig, EditFunction]] = []
    for method in section.methods:
        inversion = {"solver": method.solver, "warm_start": method.warm_start, "stop": method.stop}
        config = method.applied(section.settings).model_copy(update=inversion)
        about = {
            "method": method.solver.name,
            "solver": {"name": method.solver.name, **method.settings},
            "warm_start": method.warm_start,
            "stop": method.stop.model_dump(),
        }
        rows.append((about, config, inversion_editor(model, config, pictures)))
    for fresh in section.image_to_image:
        config = fresh.applied(section.settings).model_copy(update={"adjustment_strength": 0.0})
        rows.append(({"method": "image_to_image"}, config, image_to_image_editor(model, config)))
    # Untimed: the first edits of a process pay for kernel selection and memory.
    first = Pictures(pictures.images[:batch_size], pictures.sources[:batch_size])
    score_background_edits(first, image_to_image_editor(model, section.settings), judge, clip, batch_size)
    return [
        about
        | {"sampler": full_schedule(model, config).name}
        | config.model_dump(include={"num_steps", *ROW_FIELDS} - {"sampler"})
        | asdict(score_background_edits(pictures, editor, judge, clip, batch_size))
        for about, config, editor in rows
    ]
