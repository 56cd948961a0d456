"""Models that installed packages carry, such as `embedded`.

A package registers them as entry points of the group `augment.models`: the name is what `model.name` says, and the
object a function without arguments that returns a `PackagedModel`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path

GROUP = "augment.models"


@dataclass(frozen=True)
class PackagedModel:
    """Where the files of a packaged model lie.

    Attributes:
        folder: a pipeline in diffusers' format.
        revision: hash of the weights.
        pipeline_class: name of the pipeline class; empty for the one that the folder names.
        parts: folders of networks and schedulers that replace those of `folder`, by the pipeline's name for them.
        clip: folder of a CLIP model that scores its pictures, in transformers' format; None if it has none.
    """

    folder: Path
    revision: str
    pipeline_class: str = ""
    parts: Mapping[str, Path] = field(default_factory=dict)
    clip: Path | None = None


@cache
def packaged_model(name: str) -> PackagedModel | None:
    """Return the packaged model of this name; None if no installed package has registered one."""
    for entry in entry_points(group=GROUP, name=name):
        model: PackagedModel = entry.load()()
        return model
    return None
