"""The expansion job as configured: what its YAML says, which images that means, and what must not change on resume."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from augment.config import load_config
from augment.data.finalize import ShardLimits
from augment.data.ledger import OutputError, Plan, flatten, sources_digest
from augment.data.readers import InputError, InputFormat, list_sources
from augment.distribute import RunConfig
from augment.edit_config import EditConfig
from augment.filters import FilterConfig
from augment.models.config import EMBEDDED, ModelConfig, embedded_revision
from augment.prompts import PromptConfig
from augment.scoring import ClipConfig
from augment.tiny.dataset import split_path
from augment.types import Source
from augment.worker import WorkerConfig

SPLIT_PREFIX = "embedded:"


class InputConfig(BaseModel):
    """Which images."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str | tuple[str, ...] = Field(
        description="a folder or tar(s), relative to the working directory; `embedded:train` is the split that ships"
    )
    format: InputFormat = Field(description="`imagefolder` or `webdataset`")
    image_size: int = Field(gt=0, description="side in pixels to which images are resized and cropped; the model's own")
    limit: int | None = Field(default=None, gt=0, description="only the first so many images, by key")


class OutputConfig(ShardLimits):
    """Where to, in which portions."""

    path: Path = Field(description="output folder, relative to the working directory; one per run")


class ExpandConfig(BaseModel):
    """`configs/expand/*.yaml`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    input: InputConfig
    output: OutputConfig
    model: ModelConfig = ModelConfig()
    prompts: Path = Field(description="YAML file of prompts, relative to this file")
    variants_per_image: int = Field(default=4, gt=0, description="edits wanted of each image")
    editing: EditConfig = EditConfig()
    clip: ClipConfig = ClipConfig()
    filters: FilterConfig = FilterConfig()
    run: RunConfig = RunConfig()
    seed: int = Field(default=0, description="another seed, other prompts")


def load_expand_config(path: Path | str, overrides: Sequence[str] = ()) -> ExpandConfig:
    """Read a config; its `prompts` becomes an absolute path. Raises ConfigError."""
    config = load_config(path, ExpandConfig, overrides)
    return config.model_copy(update={"prompts": (Path(path).parent / config.prompts).absolute()})


def job_sources(config: ExpandConfig) -> list[Source]:
    """The job's images, sorted by key, with absolute locators: workers may have another working directory.

    Raises:
        InputError: if there are none. OutputError: if the output lies inside the input.
    """
    path = config.input.path
    if isinstance(path, str) and path.startswith(SPLIT_PREFIX):
        try:
            located: list[str] = [str(split_path(path.removeprefix(SPLIT_PREFIX)))]
        except ValueError as error:
            raise InputError(f"input.path: {path}: {error}") from error
    else:
        located = [str(Path(p).absolute()) for p in ([path] if isinstance(path, str) else path)]
    out = config.output.path.absolute().resolve()
    for folder in filter(Path.is_dir, map(Path, located)):
        if out.is_relative_to(folder.resolve()):
            raise OutputError(
                f"output.path: {config.output.path} lies inside input.path {folder}; the next run would take its files "
                "for images. Choose a folder elsewhere."
            )
    sources = list_sources(located[0] if len(located) == 1 else located, config.input.format)
    return sources[: config.input.limit]


def fingerprint(config: ExpandConfig, prompts: PromptConfig, sources: Sequence[Source]) -> dict[str, Any]:
    """Dotted key -> value of everything that changes pixels, scores or the cut into units."""
    model = config.model
    if model.name == EMBEDDED and not model.revision:
        model = model.model_copy(update={"revision": embedded_revision()})
    return flatten(
        {
            "input": {
                "count": len(sources),
                "listing": sources_digest(sources),
                "image_size": config.input.image_size,
            },
            # Where the model runs may change, what it is may not.
            "model": model.model_dump(mode="json", exclude={"device"}),
            "prompts": prompts.model_dump(mode="json"),
            "variants_per_image": config.variants_per_image,
            "editing": config.editing.model_dump(mode="json"),
            "clip": config.clip.model_dump(mode="json"),
            "run": {"unit_size": config.run.unit_size},
            "seed": config.seed,
        }
    )


def worker_config(config: ExpandConfig, plan: Plan) -> WorkerConfig:
    """What each worker of the job is told."""
    return WorkerConfig(
        model=config.model,
        editing=config.editing,
        clip=config.clip,
        image_size=config.input.image_size,
        class_names=plan.class_names,
        seed=config.seed,
        config_hash=plan.digest,
        output=config.output.path.absolute(),
        batch_size=config.run.batch_size,
        threads=config.run.threads_per_worker,
    )
