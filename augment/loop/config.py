"""`augment loop`: what its YAML file says. Needs no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from augment.config import KeyPath, load_config
from augment.ledger.plan import flatten, sources_digest
from augment.prompts import PromptConfig
from augment.run.config import ExpandConfig
from augment.run.prompt_file import located
from augment.training.config import SyntheticConfig, TrainingConfig
from augment.types import Source

PICTURES = "pictures"  # the digests of the pictures, among the settings
_SET_BY_THE_LOOP = "edits"  # stands where the loop puts its own folder
_OF_INPUT = ("path", "format", "split", "class_names")  # what training needs to list the same pictures
# Sections that change neither edits nor figures, and budgets, which may grow.
_MAY_CHANGE: dict[str, Any] = {
    "budget": True,
    "patience": True,
    "expand": {"run": True, "budget": True, "prompts": True},
    "train": {"device": True, "run": True, "data": {"num_workers", "cache_mb"}},
}


class LoopBudget(BaseModel):
    """What may be spent; `null` is no limit."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    edits: int | None = Field(default=None, gt=0, description="edits planned over all rounds, rejected ones included")
    gpu_hours: float | None = Field(
        default=None,
        gt=0,
        description="hours that workers had the model, measured, over all rounds; a round begins "
        "only while some of them are left",
    )

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if self.edits is None and self.gpu_hours is None:
            raise ValueError("give edits or gpu_hours, or both: the loop must end, even if val improves for ever")
        return self


class LoopConfig(BaseModel):
    """`configs/loop/*.yaml`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    expand: ExpandConfig = Field(
        description="the expansion, as in configs/expand, without `output.path`, which is OUT/edits. Its prompts need "
        "templates; `variants_per_image` is the most edits of an image, over all rounds"
    )
    train: TrainingConfig = Field(
        description="the training, as in configs/train_classifier, without `data.real`, which is what is expanded, and "
        "`data.synthetic`, which is what came out"
    )
    synthetic_ratio: float = Field(default=0.5, gt=0, lt=1, description="share of the samples that are edits")
    edits_per_round: int = Field(gt=0, description="edits planned in each round")
    budget: LoopBudget
    patience: int = Field(default=2, gt=0, description="stop after so many rounds in which val was no better")
    focus: float = Field(
        default=1.0,
        ge=0,
        description="exponent of the error rates and losses by which edits are chosen: 0 chooses "
        "uniformly, whatever val says; more chases the weakest",
    )
    smoothing: float = Field(
        default=4.0,
        gt=0,
        description="pictures' worth of what all val says that is added to what few pictures of a class or group say",
    )
    early_steps: int = Field(
        default=50, gt=0, description="of the short run whose losses say which pictures are not learned early"
    )

    @model_validator(mode="before")
    @classmethod
    def _filled_in(cls, data: Any) -> Any:
        """Fill in what the loop sets itself, and refuse what would contradict it."""
        if not (isinstance(data, Mapping) and all(isinstance(data.get(name), Mapping) for name in ("expand", "train"))):
            return data
        expand, train = dict(data["expand"]), dict(data["train"])
        output = expand.get("output") or {}
        if isinstance(output, Mapping):
            if output.get("path", _SET_BY_THE_LOOP) != _SET_BY_THE_LOOP:
                raise ValueError(
                    "expand.output.path: the loop writes into OUT/edits, with OUT from --out; leave it out"
                )
            expand["output"] = {**output, "path": _SET_BY_THE_LOOP}
        pictures, source = train.get("data"), expand.get("input")
        if isinstance(pictures, Mapping) and isinstance(source, Mapping):
            real = {name: source[name] for name in _OF_INPUT if name in source}
            if pictures.get("synthetic") is not None or pictures.get("real", real) != real:
                raise ValueError(
                    "train.data: `real` is what `expand.input` lists, `synthetic` what the loop makes; leave both out"
                )
            train["data"] = {**pictures, "real": real}
        return {**data, "expand": expand, "train": train}

    @model_validator(mode="after")
    def _can_be_done(self) -> Self:
        if self.train.recipe.name != "mix":
            raise ValueError(
                f"train.recipe: {self.train.recipe.name!r} needs edits, and the first round has none; take mix"
            )
        if self.expand.prompt_folder:
            raise ValueError("expand.prompt_folder: each round has a table of prompts of its own; leave it out")
        if self.expand.input.limit:
            raise ValueError(
                "expand.input.limit: what is trained on is what is expanded, all of it; leave it out, or list fewer "
                "pictures by expand.input.path"
            )
        return self

    def expand_into(self, edits: Path, prompts: Path) -> ExpandConfig:
        """Return the expansion of a round: its output folder, and that with its table of prompts."""
        output = self.expand.output.model_copy(update={"path": str(edits)})
        return self.expand.model_copy(update={"output": output, "prompt_folder": str(prompts)})

    def train_on(self, edits: Path | None, *, with_test: bool = False) -> TrainingConfig:
        """Return the training of a round, on these edits if there are any; without test, which is for the end."""
        synthetic = SyntheticConfig(path=str(edits), ratio=self.synthetic_ratio) if edits else None
        changes = {"synthetic": synthetic} | ({} if with_test else {"test": None})
        return self.train.model_copy(update={"data": self.train.data.model_copy(update=changes)})

    def settings(self, prompts: PromptConfig, pictures: Mapping[str, Sequence[Source]]) -> dict[str, Any]:
        """Return all that a round's figures depend on, by dotted key: not what may be spent.

        Args:
            prompts: of the expansion, read from their file if they are in one.
            pictures: real, val and test, as listed.
        """
        settings = self.model_dump(mode="json", exclude=_MAY_CHANGE)
        settings["expand"]["clip"] = self.expand.clip.identity()  # as loops of earlier versions have it
        listed = {name: sources_digest(sources) for name, sources in pictures.items()}
        return flatten({**settings, "prompts": prompts.identity(), PICTURES: listed})


def load_loop_config(path: Path | str, overrides: Sequence[str] = ()) -> LoopConfig:
    """Return the config of a file, with `expand.prompts` as an absolute path, as `load_expand_config` does.

    Raises:
        ConfigError: with all problems of the file and the overrides.
    """
    origins: dict[KeyPath, str] = {}
    config = load_config(path, LoopConfig, overrides, origins=origins)
    prompts = located(config.expand.prompts, path, ("expand", "prompts"), overrides, origins)
    return config.model_copy(update={"expand": config.expand.model_copy(update={"prompts": prompts})})
