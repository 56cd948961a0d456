"""Which models: the config sections, and the check of their names. No torch here: a typo costs no model load."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Literal

import huggingface_hub
from pydantic import BaseModel, ConfigDict, Field, field_validator

from augment.config import PathText
from augment.errors import ModelError
from augment.models.files import check_clip_folder, check_pipeline, convert
from augment.models.packaged import packaged_model
from augment.prompts.templates import fields_of

EMBEDDED = "embedded"  # the packaged model that needs no download
# Revision of the packaged CLIP that scored edits before plans held one.
_UNWRITTEN_CLIP = "43a6e38558d1c5cd"
_DIGITS = 16  # hexadecimal ones, of a folder's revision; a commit of the hub has 40
# Tokenizers are read from these where there is no tokenizer.json, which says all that they say.
_TOKENIZER_TEXTS = ("merges.txt", "vocab.txt")


class ModelConfig(BaseModel):
    """Which text-to-image model makes the edits."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: PathText = Field(
        default=EMBEDDED,
        description="`embedded`, `embedded-lcm` (its few-step student), a diffusers folder (on a cluster: absolute), "
        "or a Hugging Face model id",
    )
    revision: str = Field(
        default="", description="commit, tag or branch of a Hugging Face model; empty for the default"
    )
    variant: str = Field(default="", description="of the weight files, for example `fp16`; empty for none")
    device: str = Field(
        default="cpu",
        pattern=r"^(cpu|cuda(:(\d+|all))?)$",
        description="`cpu`, `cuda`, `cuda:N`, or `cuda:all` for workers on every GPU; one process takes `cuda` then",
    )
    dtype: Literal["float32", "float16", "bfloat16"] = Field(
        default="float32", description="of the network; latents and residuals are float32 throughout"
    )

    @property
    def torch_device(self) -> str:
        """Return the device of one process, as torch names it."""
        return "cuda" if self.device == "cuda:all" else self.device


class ClipConfig(BaseModel):
    """The model that scores edits."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: PathText = Field(default=EMBEDDED, description="`embedded`, a folder or a hub id in CLIPModel format")
    revision: str = Field(
        default="", description="commit, tag or branch of a Hugging Face model; empty for the default"
    )
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

    def identity(self) -> dict[str, Any]:
        """Return all settings as plans and `aug_id` hash them, JSON values by name.

        The revision of the CLIP that scored edits before plans held one is left out: their scores are the same.
        """
        unwritten = {"revision"} if self.revision in ("", _UNWRITTEN_CLIP) else set()
        return self.model_dump(mode="json", exclude=unwritten)


def pinned(config: ModelConfig) -> ModelConfig:
    """Return the config with exactly these weights as its revision: whoever loads it later gets the same.

    The revision becomes the hash of the shipped weights, a hash of a folder's weight files, or a commit of the hub.

    Raises:
        ModelError: if there is no such model, its files cannot be loaded, as far as that can be known without loading
            them, or its weights are not those of the revision that was asked for.
    """
    if packaged := packaged_model(config.name):
        return _with_revision(config, packaged.revision)
    if Path(config.name).is_dir():
        check_pipeline(Path(config.name), config.name, config.variant)
        return _with_revision(config, folder_digest(Path(config.name)))
    if Path(config.name).is_file():
        raise ModelError(f"model {config.name!r} is a file: {convert(config.name)}")
    commit = commit_of("model", config.name, config.revision, "stabilityai/sd-turbo")
    if folder := _offline_folder(config.name, commit, "model_index.json"):
        check_pipeline(folder, config.name, config.variant)
    return config.model_copy(update={"revision": commit})


def exact_revision(what: str, name: str, revision: str, example: str) -> str:
    """Return what stands for exactly the weights of a model: a hash of a folder's files, or a commit of the hub.

    Args:
        what, name, revision, example: as for `commit_of`; of a folder, `revision` is the hash that is wanted, or "".

    Raises:
        ModelError: if there is no such model, or a folder holds other weights.
    """
    if not Path(name).is_dir():
        return commit_of(what, name, revision, example)
    return _as_wanted(what, name, revision, folder_digest(Path(name)))


def _as_wanted(what: str, name: str, wanted: str, found: str) -> str:
    """Return the revision that was found. Raises ModelError if another one is wanted."""
    if wanted not in ("", found) and not is_earlier_digest(name, wanted):
        raise ModelError(
            f"{what} {name!r}: revision {wanted!r} was asked for, but the weights that are there are {found!r}; "
            "leave the revision empty to use them"
        )
    return found


def pinned_clip(config: ClipConfig) -> ClipConfig:
    """Return the config with exactly these weights as its revision, as `pinned` does for the model of the edits.

    Raises:
        ModelError: if no such CLIP model can be loaded, as far as that can be known without loading it, or its weights
            are not those of the revision that was asked for.
    """
    what, name, wanted = "clip.name", config.name, config.revision
    packaged = packaged_model(name)
    if packaged is not None and packaged.clip is not None:
        return config.model_copy(update={"revision": _as_wanted(what, name, wanted, packaged.revision)})
    if Path(name).is_dir():
        check_clip_folder(Path(name), name)
    revision = exact_revision(what, name, wanted, "openai/clip-vit-base-patch32")
    if not Path(name).is_dir() and (cached := _offline_folder(name, revision, "config.json")):
        check_clip_folder(cached, name)
    return config.model_copy(update={"revision": revision})


def _offline_folder(name: str, commit: str, file: str) -> Path | None:
    """Return the folder of a cached model; None if what it lacks can still be downloaded."""
    if not huggingface_hub.constants.HF_HUB_OFFLINE:
        return None
    cached = huggingface_hub.try_to_load_from_cache(name, file, revision=commit)
    return Path(cached).parent if isinstance(cached, str) else None


def commit_of(what: str, name: str, revision: str, example: str) -> str:
    """Return the commit of the hub that a name stands for now.

    Args:
        what: the name's key in the config, for messages.
        name: of the model.
        revision: commit, tag or branch; "" for the default.
        example: of a name, for messages.

    Raises:
        ModelError: if there is no such model, or the hub cannot be reached and the model is not cached.
    """
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
    if config.revision not in ("", revision) and not is_earlier_digest(config.name, config.revision):
        raise ModelError(
            f"model.revision {config.revision!r} was asked for, but the weights of {config.name!r} are {revision!r}; "
            "leave model.revision empty to use them"
        )
    return config.model_copy(update={"revision": revision})


def folder_digest(folder: Path, *, with_tokenizers: bool = True) -> str:
    """Return a hash of the weight, config and tokenizer files of a model's folder, by their relative names.

    Args:
        folder: of the model.
        with_tokenizers: whether the files are part of it that tokenizers without a tokenizer.json are read from;
            earlier releases left them out.

    Raises:
        ModelError: if one of them cannot be read.
    """
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if _decides(p, with_tokenizers) and p.is_file()):
        try:
            with path.open("rb") as file:
                content = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise ModelError(f"model {str(folder)!r}: {path} cannot be read ({error.strerror})") from error
        digest.update(f"{path.relative_to(folder)} {content}\n".encode())
    return digest.hexdigest()[:_DIGITS]


def is_earlier_digest(name: str, revision: str) -> bool:
    """Return whether a revision is what earlier releases, which left tokenizers out, called a folder as it is now."""
    folder = Path(name)
    if len(revision) != _DIGITS or packaged_model(name) is not None or not folder.is_dir():
        return False
    return revision == folder_digest(folder, with_tokenizers=False)


def _decides(path: Path, with_tokenizers: bool) -> bool:
    """Return whether a file of that name decides what a model computes."""
    if path.name in _TOKENIZER_TEXTS or path.suffix == ".model":
        return with_tokenizers and not (path.parent / "tokenizer.json").is_file()
    return path.suffix in (".safetensors", ".json")
