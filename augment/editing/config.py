"""The settings of an edit. No torch here: a config is checked before anything heavy is imported."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from augment.solver_settings import complete_settings

SamplerName = Literal["", "ddim", "euler", "euler_ancestral", "lcm", "flow_euler"]  # of any family


def checked_solver(section: dict[str, Any]) -> dict[str, Any]:
    """Validator of a `solver:` section; raises ValueError as `make_solver` does."""
    if not isinstance(section.get("name"), str):
        raise ValueError(f"a solver section needs a `name`, a word; got {section.get('name')!r}")
    solver_settings(section)
    return section


def solver_settings(section: dict[str, Any]) -> dict[str, Any]:
    """A `solver:` section with what it leaves to the solver's defaults."""
    given = {key: value for key, value in section.items() if key != "name"}
    return {"name": section["name"], **complete_settings(section["name"], given)}


class StopConfig(BaseModel):
    """Iteration limits of the inversion; see `augment.inversion.Stop`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    max_steps: int = Field(default=1, ge=1, description="solver iterations per inverted step")
    first_max_steps: int = Field(default=0, ge=0, description="the same for the first, singular step; 0 = max_steps")
    tolerance: float = Field(default=0.0, ge=0, description="residual (RMS, latents' units) at which a sample is done")


class EditConfig(BaseModel):
    """Everything about an edit that changes its pixels, apart from the model and the words."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    sampler: SamplerName = Field(
        default="", description="sampler of inversion and generation; empty for the model's own"
    )
    num_steps: int = Field(default=10, ge=1, description="steps of the full schedule")
    strength: float = Field(default=0.7, gt=0, le=1, description="share of the schedule that is inverted and redone")
    guidance_scale: float = Field(default=3.0, ge=1, description="classifier-free guidance of the edit")
    adjustment_strength: float = Field(
        default=0.0, ge=0, le=1, description="image-to-image under the source prompt before inverting; 0 is none"
    )
    inversion_guidance_scale: float = Field(default=1.0, ge=1, description="guidance while inverting; 1 is accurate")
    match_noise: bool = Field(
        default=True, description="draw the noise a sampler adds given the latents it leads to; see matched_noise"
    )
    solver: Annotated[dict[str, Any], AfterValidator(checked_solver)] = Field(
        default={"name": "rnri_secant"}, description="`name` of a solver, and its settings"
    )
    stop: StopConfig = StopConfig(max_steps=8, tolerance=0.02)
