"""The configuration of the expansion job, the images that it selects, and the fingerprint that a resumed run checks."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from augment.config import KeyPath, PathText, load_config
from augment.dataset.shards import ShardLimits
from augment.distribute.config import RunConfig
from augment.editing.config import EditConfig
from augment.errors import ConfigError, OutputError
from augment.filters import FilterConfig
from augment.inputs.colour import ColourName
from augment.inputs.fit import FitName
from augment.inputs.locate import absolute, is_url
from augment.inputs.packaged import packaged_path
from augment.inputs.readers import InputFormat, list_sources
from augment.ledger.plan import (
    digest_of,
    flatten,
    in_plan_order,
    sources_digest,
)
from augment.models.config import ClipConfig, ModelConfig, pinned, pinned_clip
from augment.models.segmentation_files import SegmentationConfig, pinned_segmentation
from augment.prompts import PromptConfig, PromptSource, unused_classes
from augment.run.budget import BudgetConfig
from augment.run.prompt_file import PromptsField, located, prompts_name
from augment.types import Source

ClassName = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


def _as_text(key: object) -> object:
    return str(key) if isinstance(key, int) else key  # a label; YAML's keys are texts already


class InputConfig(BaseModel):
    """The images to edit."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: PathText | tuple[PathText, ...] = Field(
        description="folder, tar(s) or manifest, relative to the working directory, or a URL like s3://bucket/folder, "
        "with `~` and `$VARIABLES`; `embedded:train` is the split that ships"
    )
    format: InputFormat = Field(
        description="`imagefolder`, `webdataset`, `manifest` (CSV, JSONL or Parquet) or `flat` (one class)"
    )
    split: str | None = Field(default=None, description="of a manifest with that column: only the rows of this split")
    image_size: int = Field(gt=0, description="side in pixels to which images are fitted; the model's own")
    fit: FitName = Field(
        default="crop",
        description="`crop`: the shorter side resized, the centre cut out; `bucket`: the nearest in aspect of some "
        "sizes of about image_size^2 pixels; `pad`: the whole image, the longer side resized, and edits without the "
        "padding; `stretch`: the whole image, distorted to a square",
    )
    limit: int | None = Field(
        default=None, gt=0, description="only so many images, drawn by a hash of the key; a larger limit keeps them"
    )
    colour: ColourName = Field(
        default="srgb",
        description="`srgb` converts colours from the profile in a file to sRGB, `ignore` takes numbers as they are",
    )
    class_names: dict[Annotated[str, BeforeValidator(_as_text), Field(min_length=1)], ClassName] = Field(
        default={},
        description="the word for every class, by its label or by its own name (of its folder, say); empty: as the "
        "dataset calls them",
    )


class OutputConfig(ShardLimits):
    """Where the output goes, and how large its shards may grow."""

    path: PathText = Field(
        description="output folder, relative to the working directory, or a URL like s3://bucket/folder; one per run",
    )


class ExpandConfig(BaseModel):
    """The expansion job, as in `configs/expand/*.yaml`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    input: InputConfig
    output: OutputConfig
    model: ModelConfig = ModelConfig()
    prompts: PromptsField = Field(
        description="YAML file of prompts, or text file with one in each line, relative to this file; or the prompts "
        "themselves"
    )
    prompt_folder: PathText | None = Field(
        default=None, description="where `augment prompts` writes and others read; OUTPUT/prompts if not given"
    )
    variants_per_image: int = Field(default=4, gt=0, description="edits wanted of each image")
    editing: EditConfig = EditConfig()
    segmentation: SegmentationConfig | None = Field(
        default=None,
        description="`editing.preserve: mask`: finds the object in images without a mask; null: nothing does",
    )
    clip: ClipConfig = ClipConfig()
    filters: FilterConfig = FilterConfig()
    budget: BudgetConfig = BudgetConfig()
    run: RunConfig = RunConfig()
    seed: int = Field(default=0, ge=-(2**63), lt=2**63, description="another seed draws other prompts")
    reuse: tuple[PathText, ...] = Field(
        default=(), description="other output folders, as paths or URLs; edits that they have already are taken over"
    )


def load_expand_config(path: Path | str, overrides: Sequence[str] = ()) -> ExpandConfig:
    """Return the config of a file, with `prompts` as an absolute path.

    In a file `prompts` is relative to the file that says it; in an override, as all that is typed, to the working
    directory.

    Args:
        path: YAML file.
        overrides: `dotted.key=value`.

    Raises:
        ConfigError: with all problems of the file and the overrides.
    """
    origins: dict[KeyPath, str] = {}
    config = load_config(path, ExpandConfig, overrides, origins=origins)
    prompts = located(config.prompts, path, overrides=overrides, origins=origins)
    return config.model_copy(update={"prompts": prompts})


def with_pinned_models(config: ExpandConfig) -> ExpandConfig:
    """Return the config with the revisions of its models, so that all workers, and later runs, load the same weights.

    Raises:
        ModelError: if there is no such model, or its files cannot be loaded.
    """
    segmentation = config.segmentation and pinned_segmentation(config.segmentation)
    model, clip = pinned(config.model), pinned_clip(config.clip)
    return config.model_copy(update={"model": model, "clip": clip, "segmentation": segmentation})


class JobSources(NamedTuple):
    """The images of a job.

    Attributes:
        sources: the job's images, in plan order.
        class_names: label -> class name of the whole dataset, whatever `limit` leaves.
        left_out: kind -> number of the files of the dataset that are not among its images.
    """

    sources: list[Source]
    class_names: dict[int, str]
    left_out: Mapping[str, int]


def job_sources(config: ExpandConfig, columns: Sequence[str] = ()) -> JobSources:
    """Return the job's images, and what else the listing of the dataset says.

    The order is that of `in_plan_order`, so the images that `limit` leaves are a random sample of the dataset.
    Locators are absolute, because workers may have another working directory. `columns` become attributes.

    Raises:
        InputError: if there are no images.
        OutputError: if the output lies inside the input.
    """
    path = config.input.path
    packaged = packaged_path(path) if isinstance(path, str) else None
    paths = [path] if isinstance(path, str) else path
    located = [packaged] if packaged is not None else [absolute(p) for p in paths]
    out = output_url(config)
    for folder in located:
        if (is_url(folder) or Path(folder).is_dir()) and _is_inside(out, folder):
            raise OutputError(
                f"output.path: {config.output.path} lies inside input.path {folder}; the next run would take its files "
                "for images. Choose a folder elsewhere."
            )
    named = config.input.class_names
    place = located[0] if len(located) == 1 else located
    masks = config.editing.preserve == "mask"
    listing = list_sources(place, config.input.format, named, config.input.split, columns, masks=masks)
    chosen = in_plan_order(listing.sources)[: config.input.limit]
    return JobSources(chosen, {s.label: s.class_name for s in listing.sources}, listing.left_out)


def check_class_names(config: ExpandConfig, prompts: PromptConfig, class_names: Mapping[int, str]) -> None:
    """Raise ConfigError if the prompts name a class that the dataset does not have."""
    if unused := unused_classes(prompts, class_names.values()):
        known = ", ".join(sorted(class_names.values())[:20]) + (", ..." if len(class_names) > 20 else "")
        reason = f"is no class of the dataset, but overrides or exclude name it; known are {known}"
        raise ConfigError(prompts_name(config.prompts), [f"class {name!r} {reason}" for name in unused])


def output_url(config: ExpandConfig) -> str:
    """Return the output folder as an absolute path or a URL."""
    return absolute(config.output.path)


def _is_inside(out: str, folder: str) -> bool:
    if is_url(out) or is_url(folder):
        return f"{out.rstrip('/')}/".startswith(f"{folder.rstrip('/')}/")
    return Path(os.path.realpath(out)).is_relative_to(os.path.realpath(folder))


def fingerprint(
    config: ExpandConfig,
    prompts: PromptConfig | PromptSource,
    sources: Sequence[Source],
    class_names: Mapping[int, str],
) -> dict[str, Any]:
    """Return dotted key -> value of everything that changes pixels, scores or the cut into units.

    Args:
        config: with its models pinned to their revisions, see `with_pinned_models`.
        prompts: where the prompts come from.
        sources: the job's images.
        class_names: label -> class name, of the whole dataset.
    """
    versions = {source.key: source.version for source in sources if source.version}
    return flatten(
        {
            "input": {
                "count": len(sources),
                "listing": sources_digest(sources),
                **({"versions": digest_of(versions)} if versions else {}),
                "order": "hash of the key",  # until then by key: units of such a plan hold other images
                "classes": len(class_names),  # the label score compares all of them
                "class_names": digest_of(class_names),
                "image_size": config.input.image_size,
                # Left out as long as it is `srgb`: earlier plans of pictures without profiles mean the same.
                **({} if config.input.colour == "srgb" else {"colour": config.input.colour}),
                # Left out as long as it is `crop`, the only one there was: earlier plans mean the same.
                **({} if config.input.fit == "crop" else {"fit": config.input.fit}),
            },
            # The device may change, the model may not.
            "model": config.model.model_dump(mode="json", exclude={"device"}),
            "prompts": prompts.identity(),
            "variants_per_image": config.variants_per_image,
            # With all defaults, because another release may have others.
            "editing": config.editing.identity(),
            **segmentation_identity(config.editing, config.segmentation),
            "clip": config.clip.identity(),
            "run": {"unit_size": config.run.unit_size},
            "seed": config.seed,
        }
    )


def segmentation_identity(editing: EditConfig, segmentation: SegmentationConfig | None) -> dict[str, Any]:
    """Return what ids and fingerprints have of the model that finds objects: nothing where no mask is asked for."""
    if segmentation is None or editing.preserve != "mask":
        return {}
    return {"segmentation": segmentation.model_dump(mode="json")}
