"""Which models: the config sections, and the check of their names. No torch here: a typo costs no model load."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal

import huggingface_hub
from pydantic import BaseModel, ConfigDict, Field, field_validator

from augment.errors import ModelError
from augment.models.packaged import packaged_model
from augment.prompts.templates import fields_of

EMBEDDED = "embedded"  # the packaged model that needs no download


class ModelConfig(BaseModel):
    """Which text-to-image model makes the edits."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(
        default=EMBEDDED,
        description="`embedded`, `embedded-lcm` (its few-step student), a diffusers folder (on a cluster: absolute), "
        "or a Hugging Face model id",
    )
    revision: str = Field(
        default="", description="commit, tag or branch of a Hugging Face model; empty for the default"
    )
    variant: str = Field(default="", description="of the weight files, for example `fp16`; empty for none")
    device: str = Field(default="cpu", pattern=r"^(cpu|cuda(:\d+)?)$", description="`cpu`, `cuda` or `cuda:N`")
    dtype: Literal["float32", "float16", "bfloat16"] = Field(
        default="float32", description="of the network; latents and residuals are float32 throughout"
    )


class ClipConfig(BaseModel):
    """The model that scores edits."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(default="embedded", description="`embedded`, a folder or a hub id in CLIPModel format")
    label_templates: tuple[str, ...] = Field(
        default=("a picture of {a_class}",),
        min_length=1,
        description="what each class is called in the zero-shot label score; several are averaged",
    )

    @field_validator("label_templates")
    @classmethod
    def _check_templates(cls, templates: tuple[str, ...]) -> tuple[str, ...]:
        for template in templates:
            fields = fields_of(template)
            if unknown := set(fields) - {"class", "a_class"}:
                raise ValueError(f"template {template!r}: {{{min(unknown)}}} is neither {{class}} nor {{a_class}}")
            if not fields:
                raise ValueError(
                    f"template {template!r} says nothing about the class: it needs {{class}} or {{a_class}}"
                )
        return templates


def pinned(config: ModelConfig) -> ModelConfig:
    """Return the config with exactly these weights as its revision: whoever loads it later gets the same.

    The revision becomes the hash of the shipped weights, a hash of a folder's weight files, or a commit of the hub.

    Raises:
        ModelError: if there is no such model, or its weights are not those of the revision that was asked for.
    """
    if packaged := packaged_model(config.name):
        return _with_revision(config, packaged.revision)
    if Path(config.name).is_dir():
        if not (Path(config.name) / "model_index.json").is_file():
            raise ModelError(
                f"model {config.name!r}: the folder has no model_index.json, so it is no diffusers pipeline; "
                "save one with `pipeline.save_pretrained(folder)`"
            )
        return _with_revision(config, _folder_digest(Path(config.name)))
    commit = _commit("model", config.name, config.revision, "stabilityai/sd-turbo")
    return config.model_copy(update={"revision": commit})


def check_clip(name: str) -> None:
    """Raise ModelError if there is no CLIP model of this name, as far as that can be known without loading it."""
    packaged = packaged_model(name)
    if packaged is not None and packaged.clip is not None:
        return
    if not Path(name).is_dir():
        _commit("clip.name", name, "", "openai/clip-vit-base-patch32")
    elif not (Path(name) / "config.json").is_file():
        raise ModelError(
            f"clip.name {name!r}: the folder has no config.json, so it is no CLIP model; save one, and its processor, "
            "with `save_pretrained(folder)`"
        )


def _commit(what: str, name: str, revision: str, example: str) -> str:
    """The commit of the hub that a name stands for now."""
    if name.startswith((".", "/")) or name.count("/") != 1:
        raise ModelError(
            f"{what} {name!r}: no such folder, and no Hugging Face id of the form owner/name; use `embedded`, a folder "
            f"that `save_pretrained` wrote, or an id such as {example}"
        )
    try:
        # A missing model offline otherwise ends in "does not appear to have a file named model_index.json".
        return str(huggingface_hub.resolve_revision(name, revision=revision or None).resolved)
    except Exception as error:  # the hub's own errors and whatever its transport raises
        raise ModelError(
            f"{what} {name!r} is neither a folder nor cached nor reachable on the Hugging Face hub "
            f"({type(error).__name__}: {str(error).splitlines()[0]}); "
            f"download it first with `hf download {name}`, or use `embedded`"
        ) from error


def _with_revision(config: ModelConfig, revision: str) -> ModelConfig:
    if config.revision not in ("", revision):
        raise ModelError(
            f"model.revision {config.revision!r} was asked for, but the weights of {config.name!r} are {revision!r}; "
            "leave model.revision empty to use them"
        )
    return config.model_copy(update={"revision": revision})


def _folder_digest(folder: Path) -> str:
    """A hash of the weight and config files of a pipeline folder, by their relative names."""
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.suffix in (".safetensors", ".json")):
        with path.open("rb") as file:
            digest.update(f"{path.relative_to(folder)} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()[:16]
