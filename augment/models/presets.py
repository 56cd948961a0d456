"""Settings that a model is good to start with, by family: `presets.yaml` beside this file. No torch here."""

from __future__ import annotations

import difflib
import json
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, RootModel

from augment.config import load_config
from augment.errors import ModelError
from augment.models.packaged import packaged_model

_FILE = Path(__file__).parent / "presets.yaml"
# Parts of a hub model's name that tell its family, the more special ones first.
_HINTS = (
    *(("sdxl-turbo", "sdxl-turbo"), ("xl-turbo", "sdxl-turbo"), ("turbo", "sd-turbo"), ("flux", "flux-schnell")),
    *(("stable-diffusion-3", "sd3"), ("sd3", "sd3"), ("xl", "sdxl"), ("lcm", "lcm"), ("diffusion-2", "sd21")),
)


class Preset(BaseModel):
    """What to start with for one model.

    Attributes:
        name, family, describes: the model for `model.name`; its pipeline class; a few words for a person.
        image_size: pixels.
        device, dtype: as in `model`.
        editing: keys of the section `editing`.
        batch_size: images inverted together.
        clip: the model that scores edits.
        buckets: whether it was trained on several aspects.
        grid: the attribute grid to take whatever the pictures show; "" for that of their domain.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    family: str
    describes: str
    image_size: int = Field(gt=0)
    device: Literal["cpu", "cuda"] = "cuda"
    dtype: Literal["float32", "float16", "bfloat16"] = "float16"
    editing: dict[str, str | int | float]
    batch_size: int = Field(gt=0)
    clip: str = "openai/clip-vit-large-patch14"
    buckets: bool = False
    grid: str = ""


class _Presets(RootModel[dict[str, Preset]]):
    """All of the file, by short name."""


@cache
def presets() -> dict[str, Preset]:
    """Return all presets by their short names."""
    return dict(load_config(_FILE, _Presets).root)


def preset_of(model: str) -> tuple[Preset, str]:
    """Return the preset for a model, and what to know about the choice; "" if there is nothing.

    Args:
        model: a preset's short name, such as `sdxl-turbo`; the name of a packaged model; a pipeline's folder; or an id
            of the Hugging Face hub, whose family is guessed from its name.

    Raises:
        ModelError: if it is none of these.
    """
    known = presets()
    for short, preset in known.items():
        if model in (short, preset.name):
            return preset, ""
    if Path(model).is_dir():
        return _of_folder(Path(model), model)
    if packaged_model(model) is not None or (model.count("/") == 1 and not model.startswith((".", "/"))):
        short = next((short for part, short in _HINTS if part in model.casefold()), "sd15")
        note = (
            f"the settings for {model} are those of {short}, guessed from its name: change them if it is another kind"
        )
        return known[short].model_copy(update={"name": model}), note
    near = difflib.get_close_matches(model, known, 1)
    raise ModelError(
        f"--model {model!r} is none of {', '.join(known)}, no folder that `save_pretrained` wrote, and no Hugging Face "
        f"id of the form owner/name{f'; did you mean {near[0]!r}?' if near else ''}"
    )


def _of_folder(folder: Path, name: str) -> tuple[Preset, str]:
    """Return the preset of the family that a folder's index names, with the image size of its networks."""
    family = _json(folder / "model_index.json").get("_class_name")
    same = [(short, preset) for short, preset in presets().items() if preset.family == family and not preset.grid]
    if not same:
        raise ModelError(
            f"--model {name!r}: "
            + (f"it is a {family}, which is not supported" if family else "the folder has no readable model_index.json")
            + "; name a folder that `save_pretrained` wrote of a supported pipeline"
        )
    ancestral = "Ancestral" in str(_json(folder / "scheduler" / "scheduler_config.json").get("_class_name"))
    turbo = [found for found in same if found[1].editing["sampler"] == "euler_ancestral"]
    short, preset = turbo[0] if turbo and ancestral else same[0]
    size = _image_size(folder) or preset.image_size
    note = f"the settings for {name} are those of {short}, the family of its pipeline"
    return preset.model_copy(update={"name": name, "image_size": size}), note


def _image_size(folder: Path) -> int | None:
    """Return the side in pixels that a pipeline's network was trained on; None if its configs do not say."""
    levels = _json(folder / "vae" / "config.json").get("block_out_channels")
    for part in ("unet", "transformer"):
        latents = _json(folder / part / "config.json").get("sample_size")
        if isinstance(latents, int) and isinstance(levels, list) and levels:
            return int(latents * 2 ** (len(levels) - 1))
    return None


def _json(path: Path) -> dict[str, Any]:
    """Return the object in a file; an empty one if there is none: `augment validate` says what is wrong with it."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
