"""Which segmentation model finds the objects, and what its config says of it. No torch here, no tensor read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import huggingface_hub
from pydantic import BaseModel, ConfigDict, Field

from augment.config import PathText
from augment.errors import ModelError
from augment.models.config import commit_of, folder_digest, is_earlier_digest
from augment.models.weights import DamagedFileError, find_weights, read_json

TEXT_MODELS = ("CLIPSegForImageSegmentation",)  # asked for a word; all others know the words of their labels
_SEGMENTS = re.compile(r"For(Image|Semantic|Universal|Instance|Panoptic)?Segmentation$")
_EXAMPLE = "CIDAS/clipseg-rd64-refined"
_NEEDED = "name a model of transformers for semantic segmentation, or CLIPSeg, saved with its image processor"


class SegmentationConfig(BaseModel):
    """Which model finds the object in pictures that have no mask, for `editing.preserve: mask`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: PathText = Field(
        description="a folder, or a Hugging Face id, of a transformers model for semantic segmentation, or of CLIPSeg"
    )
    revision: str = Field(
        default="", description="commit, tag or branch of a Hugging Face model; empty for the default"
    )
    words: dict[str, str] = Field(
        default={}, description="what the model calls a class, where its label is not the class word"
    )

    @property
    def is_of_the_hub(self) -> bool:
        """Return whether the name is no folder of this machine."""
        return not Path(self.name).is_dir()

    @property
    def download_revision(self) -> dict[str, str]:
        """Return what `from_pretrained` is told about the revision: nothing for a folder."""
        return {"revision": self.revision} if self.is_of_the_hub else {}


def pinned_segmentation(config: SegmentationConfig) -> SegmentationConfig:
    """Return the config with exactly these weights as its revision, as `pinned` does for the model of the edits.

    Raises:
        ModelError: if there is no such model, or it is not one that segments.
    """
    where = "segmentation.name"
    if config.is_of_the_hub:
        commit = commit_of(where, config.name, config.revision, _EXAMPLE)
        return config.model_copy(update={"revision": commit})
    architecture_of(config)
    folder = Path(config.name)
    if find_weights(folder, "model", "") is None:
        raise ModelError(f"{where} {config.name!r}: it has no model.safetensors; {_NEEDED}")
    if not any((folder / name).is_file() for name in ("preprocessor_config.json", "processor_config.json")):
        raise ModelError(f"{where} {config.name!r}: it has no preprocessor_config.json; {_NEEDED}")
    digest = folder_digest(folder)
    if config.revision not in ("", digest) and not is_earlier_digest(config.name, config.revision):
        raise ModelError(
            f"segmentation.revision {config.revision!r} was asked for, but the weights of {config.name!r} are "
            f"{digest!r}; leave segmentation.revision empty to use them"
        )
    return config.model_copy(update={"revision": digest})


def architecture_of(config: SegmentationConfig) -> str:
    """Return the name of the model's class in transformers.

    Raises:
        ModelError: if its config cannot be read, or names no class that segments.
    """
    found = _config_of(config).get("architectures")
    name = found[0] if isinstance(found, list) and found and isinstance(found[0], str) else ""
    if not _SEGMENTS.search(name):
        what = f"is a {name}" if name else "names no architecture in its config.json"
        raise ModelError(f"segmentation.name {config.name!r} {what}, which does not segment; {_NEEDED}")
    return name


def unnamed_classes(config: SegmentationConfig, class_names: Mapping[int, str]) -> list[str]:
    """Return the classes that none of the model's labels names; none for a model that reads words.

    Args:
        config: of a folder; of a model of the hub nothing is known yet, so none is returned.
        class_names: label of the dataset -> class word.
    """
    if config.is_of_the_hub or architecture_of(config) in TEXT_MODELS:
        return []
    labels = labels_of(_config_of(config).get("id2label"))
    wanted = {name: config.words.get(name, name) for name in class_names.values()}
    return [name for name, word in wanted.items() if not any(names(label, word) for label in labels.values())]


def labels_of(id2label: object) -> dict[int, str]:
    """Return number -> label, of a config's `id2label`."""
    return {int(number): str(label) for number, label in id2label.items()} if isinstance(id2label, dict) else {}


def names(label: str, word: str) -> bool:
    """Return whether a label, which may be a list such as `airplane, aeroplane, plane`, is a word for that object."""
    return _plain(word) in {_plain(one) for one in re.split(r"[,;/]", label)}


def _plain(words: str) -> str:
    return " ".join(re.findall(r"[^\W_]+", words.lower()))


def _config_of(config: SegmentationConfig) -> dict[str, Any]:
    where = f"segmentation.name {config.name!r}"
    path = Path(config.name) / "config.json"
    if config.is_of_the_hub:
        try:
            path = Path(huggingface_hub.hf_hub_download(config.name, "config.json", revision=config.revision or None))
        except Exception as error:  # the hub's own errors and whatever its transport raises
            raise ModelError(f"{where}: its config.json cannot be had ({type(error).__name__}); {_NEEDED}") from error
    try:
        return read_json(path)
    except DamagedFileError as error:
        raise ModelError(f"{where}: config.json {error}; {_NEEDED}") from error
