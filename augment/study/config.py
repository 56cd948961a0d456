"""`augment study`: what its YAML file says. Needs no torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, TypeVar, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, model_validator

from augment.editing.config import EditConfig, PlainEditConfig
from augment.errors import ConfigError
from augment.models.config import ClipConfig, ModelConfig
from augment.training.config import NetworkConfig, OptimizerConfig, unused_by_local

TrackChoice = Literal[
    "bias_80",
    "bias_95",
    "bias_100",
    "unseen",
    "few_shot_5",
    "few_shot_10",
    "few_shot_20",
    "marks",
    "unknown",
    "mixed",
    "rare",
]
ArmName = Literal[
    "none",
    "flips_crops",
    "rand_augment",
    "trivial_augment",
    "cutmix_mixup",
    "round_trip",
    "image_to_image",
    "text_to_image",
    "ddim",
    "fixed_point",
    "rnri",
    "rnri_released",
    "default_plain",
    "default",
    "image_to_image_flips_crops",
    "text_to_image_flips_crops",
    "default_flips_crops",
    "image_to_image_trivial_augment",
    "text_to_image_trivial_augment",
    "default_trivial_augment",
    "default_filtered",
    "default_weighted",
    "default_targeted",
    "default_two_stage",
    "default_repeated_real",
    "default_two_stage_flips_crops",
    "default_targeted_flips_crops",
    "oracle",
    "oracle_flips_crops",
]
ALL_TRACKS: tuple[TrackChoice, ...] = get_args(TrackChoice)
ALL_ARMS: tuple[ArmName, ...] = get_args(ArmName)
Name = TypeVar("Name", bound=str)


def _different(names: tuple[Name, ...]) -> tuple[Name, ...]:
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{twice[0]!r} is there twice; name each once")
    return names


Tracks = Annotated[tuple[TrackChoice, ...], Field(min_length=1), AfterValidator(_different)]
Arms = Annotated[tuple[ArmName, ...], Field(min_length=1), AfterValidator(_different)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class JudgeConfig(_Section):
    """The networks that say whether a synthetic picture's label is still true; each learns from renders only."""

    steps: int = Field(default=1100, gt=0, description="optimizer steps of 64 renders")
    renders: int = Field(default=6000, gt=0, description="pictures that it learns from")
    test_renders: int = Field(default=512, gt=0, description="other pictures that it is tested on")


class MoreArmsConfig(_Section):
    """Arms that only some tracks have."""

    tracks: Tracks = Field(description="the tracks that have them")
    arms: Arms = Field(description="what is trained with there, beside the arms of all tracks")


class EditBudgetConfig(_Section):
    """Accuracy against the number of edits: some arms again, with fewer synthetic pictures of each real one."""

    tracks: Tracks = Field(description="the tracks that ask it")
    arms: Arms = Field(description="arms of these tracks that have synthetic pictures")
    edits_per_image: tuple[PositiveFloat, ...] = Field(
        min_length=1,
        description="fewer than the study's own; below 1 a share of the real pictures has one, the same of each class",
    )


class StudyRunConfig(_Section):
    """Where the pieces of a study are worked on: pictures of one maker, or one training run, are a piece."""

    executor: Literal["local", "ray"] = Field(
        default="local", description="`local`: one after the other in this process; `ray`: side by side on Ray"
    )
    num_workers: PositiveInt | Literal["all"] = Field(
        default="all", description="pieces at a time; `all`: as many as Ray has CPUs for"
    )
    threads_per_worker: int = Field(default=1, gt=0, description="CPU threads of torch in each worker")
    max_failures: int = Field(default=3, ge=0, description="times that a piece is begun again whose worker has died")
    address: str = Field(
        default="local",
        pattern=r"^(local|auto|.+:\d+)$",
        description="`local` starts a Ray on this machine; `auto` or host:port joins a cluster that shares --out",
    )

    def ignored(self) -> list[str]:
        """Return what of the section is not used although it was set, as warnings."""
        return [] if self.executor == "ray" else unused_by_local(self)


class QuickConfig(_Section):
    """What `--quick` takes instead of the settings of the same names."""

    tracks: Tracks = ("bias_95",)
    arms: Arms = ("none", "trivial_augment", "default", "oracle")
    seeds: int = Field(default=1, ge=1)
    edits_per_image: int = Field(default=2, ge=1)
    steps: int = Field(default=250, gt=0)
    eval_every: int = Field(default=50, gt=0)
    judge: JudgeConfig = JudgeConfig(steps=400, renders=3000)


QUICK = tuple(QuickConfig.model_fields)


class StudyConfig(_Section):
    """`configs/study/*.yaml`."""

    tracks: Tracks = Field(default=ALL_TRACKS, description="situations, each with its own pictures and prompts")
    arms: Arms = Field(default=ALL_ARMS, description="what is trained with")
    more_arms: tuple[MoreArmsConfig, ...] = Field(default=(), description="further arms of some tracks")
    budget: EditBudgetConfig | None = Field(default=None, description="accuracy against the number of edits")
    seeds: int = Field(default=3, ge=1, description="runs of every arm, with seeds 0, 1, ...; every arm has the same")
    edits_per_image: int = Field(
        default=4, ge=1, description="synthetic pictures of each real one: every arm that has any has as many"
    )
    synthetic_ratio: float = Field(
        default=0.5, gt=0, lt=1, description="share of the samples that are synthetic, of the arms that have any"
    )
    train_per_class: int | None = Field(
        default=None, gt=0, description="real pictures of each class, instead of each track's own number"
    )
    val_per_class: int = Field(default=16, gt=0, description="balanced pictures that choose the checkpoint")
    test_per_class: int = Field(default=32, gt=0, description="balanced pictures that are only looked at in the end")
    model: ModelConfig = ModelConfig()
    editing: PlainEditConfig = Field(
        default=EditConfig(), description="of the arm `default`; the other edits differ in the inversion only"
    )
    clip: ClipConfig = Field(default=ClipConfig(), description="scores edits, for the arms that filter or weigh them")
    min_label_probability: float = Field(
        default=0.5, ge=0, le=1, description="below it the arm `default_filtered` leaves an edit out"
    )
    batch_size: int = Field(default=32, gt=0, description="pictures edited together; the result does not depend on it")
    network: NetworkConfig = NetworkConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    steps: int = Field(default=500, gt=0, description="optimizer steps of every run, whatever the arm")
    train_batch_size: int = Field(default=64, gt=1, description="samples of a step")
    eval_every: int = Field(default=50, gt=0, description="steps between two looks at val")
    select_by: Literal["accuracy", "worst_group"] = Field(
        default="accuracy", description="what chooses the checkpoint, on val"
    )
    dtype: Literal["auto", "bfloat16", "float32"] = Field(
        default="auto",
        description="of the classifier's arithmetic; `auto`: bfloat16 where the CPU computes it in hardware",
    )
    judge: JudgeConfig = JudgeConfig()
    run: StudyRunConfig = StudyRunConfig()
    quick: QuickConfig = Field(default=QuickConfig(), description="what `--quick` takes instead")

    @model_validator(mode="after")
    def _check_budget(self) -> StudyConfig:
        if self.budget and (large := [n for n in self.budget.edits_per_image if n >= self.edits_per_image]):
            raise ValueError(
                f"budget.edits_per_image has {large[0]:g}, not below edits_per_image ({self.edits_per_image}): the row "
                "of that many edits is there already, or there are no more edits"
            )
        if self.budget and (parts := [n for n in self.budget.edits_per_image if n > 1 and n != round(n)]):
            raise ValueError(f"budget.edits_per_image has {parts[0]:g}; above 1 only whole numbers are possible")
        for track in self.budget.tracks if self.budget else ():
            if self.budget and (other := [arm for arm in self.budget.arms if arm not in self.arms_of(track)]):
                raise ValueError(
                    f"budget.arms has {other[0]}, which {track} has not, so the curve would lack its end; add it to "
                    "arms, or to more_arms for this track"
                )
        return self

    def quickened(self, overrides: Sequence[str] = ()) -> StudyConfig:
        """Return the settings of `--quick`.

        Args:
            overrides: `KEY=VALUE`, as they were typed.

        Raises:
            ConfigError: for an override of what `--quick` takes from its own section, or leaves out.
        """
        typed = [override.partition("=")[0].strip().partition(".")[0] for override in overrides]
        problems = [f"{n}: --quick takes quick.{n} instead; write -o quick.{n}=..." for n in QUICK if n in typed]
        problems += [f"{n}: --quick has none; leave it out" for n in ("more_arms", "budget") if n in typed]
        if problems:
            raise ConfigError("-o", problems)
        settings = {name: getattr(self.quick, name) for name in QUICK}
        return self.model_copy(update=settings | {"more_arms": (), "budget": None})

    def arms_of(self, track: TrackChoice) -> tuple[ArmName, ...]:
        """Return the arms of a track, in the order of `ALL_ARMS`."""
        more = {arm for some in self.more_arms if track in some.tracks for arm in some.arms}
        return tuple(arm for arm in ALL_ARMS if arm in {*self.arms, *more})

    def budgets_of(self, track: TrackChoice) -> tuple[tuple[ArmName, float], ...]:
        """Return the arms of a track that have fewer edits as well, each with a number of edits of an image."""
        if self.budget is None or track not in self.budget.tracks:
            return ()
        return tuple((arm, count) for arm in self.budget.arms for count in self.budget.edits_per_image)
