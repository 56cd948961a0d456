"""The settings of an edit. No torch here: a config is checked before anything heavy is imported."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from augment.inversion.settings import AndersonSettings, SolverSettings, Stop, WarmStart

SamplerName = Literal["", "ddim", "euler", "euler_ancestral", "lcm", "flow_euler"]  # of any family
Preserve = Literal["none", "attention", "difference", "mask"]
ATTENTION_EDGE = (0.2, 0.4)  # of a mask from attention: from which on some of the source is kept, and all of it
# Fields that say what of the object is kept and how; those without effect are not in `identity`.
OF_THE_OBJECT = (
    "preserve",
    "preserve_until",
    "preserve_word",
    "self_replace_steps",
    "cross_replace_steps",
    "object_guidance_scale",
)


class Setting(NamedTuple):
    """The two settings of an edit that need no inversion of their own."""

    strength: float
    guidance_scale: float


class Candidate(BaseModel):
    """Settings to try in place of the edit's own."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    strength: float | None = Field(default=None, gt=0, le=1, description="left out: the edit's own")
    guidance_scale: float | None = Field(default=None, ge=1, description="left out: the edit's own")


class Candidates(BaseModel):
    """Settings that are tried in turn, from one inversion, until an edit is good enough.

    An edit is good enough if none of its scores is below its minimum. If no candidate is, the one is kept whose worst
    score is the least below its minimum, of equal ones the first.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    settings: tuple[Candidate, ...] = Field(min_length=2, description="in this order; the mildest first keeps most")
    min_label_probability: float | None = Field(default=None, ge=0, le=1, description="is the label still true?")
    min_text_alignment: float | None = Field(default=None, ge=-1, le=1, description="cosine: did the edit happen?")
    min_source_similarity: float | None = Field(default=None, ge=-1, le=1, description="cosine: is it that picture?")
    max_evaluations: int | None = Field(
        default=None,
        gt=0,
        description="of the network for sampling one edit, all candidates together, its source not counted; null: all",
    )

    @model_validator(mode="after")
    def _asks_for_something(self) -> Self:
        if not self.minima:
            raise ValueError("nothing to choose by: give one of " + ", ".join(f"min_{name}" for name in _SCORES))
        return self

    @property
    def minima(self) -> dict[str, float]:
        """Return score -> minimum, of those that are asked for."""
        asked = {name: getattr(self, f"min_{name}") for name in _SCORES}
        return {name: minimum for name, minimum in asked.items() if minimum is not None}

    def margin(self, scores: Mapping[str, float]) -> float:
        """Return by how much the worst of an edit's scores is above its minimum; a score that is NaN is the worst."""
        margins = [scores[name] - minimum for name, minimum in self.minima.items()]
        return -math.inf if any(map(math.isnan, margins)) else min(margins)


_SCORES = ("label_probability", "text_alignment", "source_similarity")


class MoveConfig(BaseModel):
    """How far a picture is moved before it is inverted, drawn for each picture. Only what keeps the label."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    flip: float = Field(default=0.0, ge=0, le=1, description="probability that left and right are exchanged")
    shift: float = Field(default=0.0, ge=0, le=0.5, description="largest share of the width, and of the height")
    scale: tuple[float, float] = Field(default=(1.0, 1.0), description="least and largest factor of its size")

    @model_validator(mode="after")
    def _scales_in_order(self) -> Self:
        low, high = self.scale
        if not 0.25 <= low <= high <= 4.0:
            raise ValueError(f"scale: the least and the largest factor, between 0.25 and 4; got {low:g} and {high:g}")
        return self


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

    self_replace_steps: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Prompt-to-Prompt: share of the edit's steps, the noisiest, in which positions attend to one "
        "another as they do in the source",
    )
    cross_replace_steps: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Prompt-to-Prompt: the same for attention to the words that both prompts have; UNets only",
    )

    object_guidance_scale: float | None = Field(
        default=None,
        ge=1,
        description="classifier-free guidance inside the mask of what preserves (blended guidance); null: as outside",
    )

    candidates: Candidates | None = Field(
        default=None, description="strengths and guidance scales to choose from for each edit; null: the edit's own"
    )

    moves: MoveConfig | None = Field(
        default=None, description="how pictures are moved before they are inverted; null: they stay where they are"
    )

    @model_validator(mode="after")
    def _has_a_mask(self) -> Self:
        if self.object_guidance_scale is not None and self.preserve == "none":
            raise ValueError("object_guidance_scale: no mask says where the object is; set preserve, or leave it out")
        return self

    @property
    def tried(self) -> tuple[Setting, ...]:
        """Return the settings that edits are made with, in the order of their trial."""
        given = self.candidates.settings if self.candidates else (Candidate(),)
        own = Setting(self.strength, self.guidance_scale)
        return tuple(
            Setting(
                own.strength if one.strength is None else one.strength,
                own.guidance_scale if one.guidance_scale is None else one.guidance_scale,
            )
            for one in given
        )

    def strongest_guidance(self, guidance_scale: float) -> float:
        """Return the largest scale of an edit with that one outside of its object; above 1 a step costs two calls."""
        return max(guidance_scale, self.object_guidance_scale or 1.0)

    @property
    def reads_trajectory(self) -> bool:
        """Return whether edits need the latents that their source's inversion went through."""
        return self.preserve != "none" or self.self_replace_steps > 0 or self.cross_replace_steps > 0

    def identity(self) -> dict[str, Any]:
        """Return all settings as plans and `aug_id` hash them, JSON values by name, defaults included.

        What preserves is left out as long as nothing does: edits from before there was a choice are the same edits.
        """
        unread = {"preserve", "preserve_until"} if self.preserve == "none" else set()
        unread |= {"preserve_word"} if self.preserve != "attention" or not self.preserve_word else set()
        unread |= {name for name in ("candidates", "moves", "object_guidance_scale") if getattr(self, name) is None}
        unread |= {name for name in ("self_replace_steps", "cross_replace_steps") if not getattr(self, name)}
        edge = {"attention_edge": list(ATTENTION_EDGE)} if self.preserve == "attention" else {}
        return self.model_dump(mode="json", exclude=unread) | edge


def without_choices(editing: EditConfig) -> EditConfig:
    """Return the settings. Raises ValueError if they move pictures or choose candidates, as only `expand` does."""
    for name in ("candidates", "moves"):
        if getattr(editing, name) is not None:
            raise ValueError(f"{name}: is for `augment expand` alone; leave it out here")
    return editing


def without_an_object(editing: EditConfig) -> EditConfig:
    """Return the settings. Raises ValueError if they keep the object of an image, as nothing between two images can."""
    given = {name: getattr(editing, name) for name in ("preserve", "self_replace_steps", "cross_replace_steps")}
    if kept := [f"{name}: {value}" for name, value in given.items() if value not in ("none", 0.0)]:
        raise ValueError(f"{', '.join(kept)} keeps the object of one image, and a pair has two; leave it out")
    return editing


PlainEditConfig = Annotated[EditConfig, AfterValidator(without_choices)]  # of what makes edits one by one setting
PairEditConfig = Annotated[PlainEditConfig, AfterValidator(without_an_object)]  # of what is between two images
