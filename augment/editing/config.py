"""The settings of an edit. No torch here: a config is checked before anything heavy is imported."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from augment.inversion.settings import AndersonSettings, SolverSettings, Stop, WarmStart

SamplerName = Literal["", "ddim", "euler", "euler_ancestral", "lcm", "flow_euler"]  # of any family
Preserve = Literal["none", "attention", "difference", "mask"]


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
    solver: SolverSettings = Field(default=AndersonSettings(), description="`name` of a solver, and its settings")
    warm_start: WarmStart = Field(default="extrapolated", description="first guess at each inverted step; it is free")
    stop: Stop = Field(default=Stop(), description="iteration limits and tolerance of the inversion")
    preserve: Preserve = Field(
        default="none",
        description="where the source is put back into its edit: nowhere, `attention` (where the network sees the "
        "class word), `difference` (where source and target prompt agree) or `mask` (where a given mask says so)",
    )
    preserve_until: float = Field(
        default=0.6, gt=0, le=1, description="share of the edit's steps, the noisiest, after which it is put back"
    )
    preserve_word: str = Field(
        default="",
        description="`attention`: what source prompts call the object, such as `something`; of `something|scene` "
        "either counts; empty: the class word",
    )

    def identity(self) -> dict[str, Any]:
        """Return all settings as plans and `aug_id` hash them, JSON values by name, defaults included.

        What preserves is left out as long as nothing does: edits from before there was a choice are the same edits.
        """
        unread = {"preserve", "preserve_until"} if self.preserve == "none" else set()
        unread |= {"preserve_word"} if self.preserve != "attention" or not self.preserve_word else set()
        return self.model_dump(mode="json", exclude=unread)
