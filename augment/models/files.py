"""The files of a model's folder: whether a pipeline, or a CLIP model, can be loaded from it. No torch, no tensor read.

What only shows when the networks are built, such as a tensor of another shape, is found by `augment.models.strict`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from augment.errors import ModelError
from augment.models.needed_fields import absent_fields
from augment.models.weights import (
    DamagedFileError,
    find_weights,
    is_there,
    listed,
    read_json,
    read_small_file,
    weight_problems,
)

# Pipeline class -> its parts that are used here.
PIPELINES: Mapping[str, tuple[str, ...]] = {
    "StableDiffusionPipeline": ("unet", "vae", "text_encoder", "tokenizer", "scheduler"),
    "LatentConsistencyModelPipeline": ("unet", "vae", "text_encoder", "tokenizer", "scheduler"),
    "StableDiffusionXLPipeline": (
        *("unet", "vae", "text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2", "scheduler"),
    ),
    "StableDiffusion3Pipeline": (
        *("transformer", "vae", "text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2"),
        *("text_encoder_3", "tokenizer_3", "scheduler"),
    ),
    "FluxPipeline": ("transformer", "vae", "text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2", "scheduler"),
}
MAY_BE_MISSING = {"StableDiffusion3Pipeline": ("text_encoder_3", "tokenizer_3")}  # T5: zeros take its place
CLASSES = {  # of the parts whose insides are read here
    "unet": ("UNet2DConditionModel",),
    "vae": ("AutoencoderKL",),
    "transformer": ("SD3Transformer2DModel", "FluxTransformer2DModel"),
}
BASES = {"diffusers": "diffusion_pytorch_model", "transformers": "model"}  # names of weight files, by library
TOKENIZER_FILES = (("tokenizer.json",), ("vocab.json", "merges.txt"), ("spiece.model",), ("sentencepiece.bpe.model",))
PROCESSOR_FILES = ("preprocessor_config.json", "processor_config.json")
LARGEST = 10**8  # whole number in a config; more would be built for hours, until memory runs out
SINGLE_FILES = (".safetensors", ".ckpt", ".pt", ".pth", ".bin", ".gguf")

# Values in configs that are read here or without which nothing can be built: null in none of them, if they are there.
COUNT, NUMBER, COUNTS, WORD = "a whole number above 0", "a number above 0", "a list of whole numbers above 0", "a text"
FIELDS: Mapping[str, Mapping[str, str]] = {
    "unet": {"sample_size": COUNT, "in_channels": COUNT, "out_channels": COUNT, "block_out_channels": COUNTS},
    "vae": {"scaling_factor": NUMBER, "latent_channels": COUNT, "block_out_channels": COUNTS},
    "transformer": {
        **dict.fromkeys(("sample_size", "patch_size", "in_channels", "num_layers", "joint_attention_dim"), COUNT),
        **dict.fromkeys(("attention_head_dim", "num_attention_heads"), COUNT),
    },
    "scheduler": {
        "num_train_timesteps": COUNT,
        "beta_start": NUMBER,
        "beta_end": NUMBER,
        "beta_schedule": WORD,
        "prediction_type": WORD,
        "timestep_spacing": WORD,
        "shift": NUMBER,
    },
    "text_encoder": {
        **dict.fromkeys(("hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size"), COUNT),
        **dict.fromkeys(("max_position_embeddings", "d_model", "d_ff", "num_layers", "num_heads"), COUNT),
    },
}


def check_pipeline(folder: Path, name: str, variant: str = "") -> None:
    """Raise ModelError with all that keeps a folder from being loaded as a pipeline, as far as its files tell.

    Args:
        folder: in diffusers' format.
        name: what the config calls the model, for the message.
        variant: of the weight files; "" for none.
    """
    if not is_there(folder / "model_index.json"):
        raise ModelError(f"model {name!r}: the folder has no model_index.json, {_no_pipeline(folder)}")
    try:
        index = read_json(folder / "model_index.json")
    except DamagedFileError as error:
        raise ModelError(f"model {name!r}: model_index.json {error}") from error
    class_name = index.get("_class_name")
    if not isinstance(class_name, str) or class_name not in PIPELINES:
        raise ModelError(
            f"model {name!r} is a {class_name}, which is not supported; supported are {', '.join(PIPELINES)}"
        )
    problems: list[str] = []
    variants = set()
    for part in PIPELINES[class_name]:
        entry = index.get(part)
        if entry in (None, [None, None]) and part in MAY_BE_MISSING.get(class_name, ()):
            continue
        if not (isinstance(entry, list) and len(entry) == 2 and all(isinstance(name, str) for name in entry)):
            problems.append(f"model_index.json names no library and class for {part}, which a {class_name} needs")
            continue
        library, part_class = entry
        problems += _part_problems(folder, part, library, part_class, pipeline=class_name, variant=variant)
        weights = find_weights(folder / part, BASES.get(library, ""), variant)
        variants |= {weights.variant} if weights else set()
    if variant and variants == {""}:
        problems.append(f"no weight file of model.variant {variant!r} is there, only those without: leave it empty")
    _raise(f"model {name!r}", problems)


def check_clip_folder(folder: Path, name: str) -> None:
    """Raise ModelError with all that keeps a folder from being loaded as a CLIP model, as far as its files tell."""
    what = f"clip.name {name!r}"
    if not is_there(folder / "config.json"):
        raise ModelError(
            f"{what}: the folder has no config.json, so it is no CLIP model; save one, and its processor, "
            "with `save_pretrained(folder)`"
        )
    problems = []
    try:
        config = read_json(folder / "config.json")
    except DamagedFileError as error:
        problems.append(f"config.json {error}")
    else:
        if config.get("model_type", "clip") != "clip":
            problems.append(f"config.json is of model_type {config['model_type']!r}: only CLIP models score edits")
        problems += [
            f"config.json: {field} is {n}: no network has so many of anything" for field, n in _too_large(config)
        ]
        for tower in ("text_config", "vision_config"):
            if tower in config and not isinstance(config[tower], dict):
                problems.append(f"config.json: {tower} is {config[tower]!r}: {_EXPECTED}a section")
    for problem in (*_weights_found(folder, "model", ""), *_tokenizer_problems(folder)):
        problems.append(problem.removeprefix(f"{folder.name}/").strip())
    processors = [processor for processor in PROCESSOR_FILES if is_there(folder / processor)]
    if not processors:
        problems.append("preprocessor_config.json is not there: save the model's processor into the folder as well")
    for processor in processors:
        try:
            read_json(folder / processor)
        except DamagedFileError as error:
            problems.append(f"{processor} {error}")
    _raise(what, problems)


def _raise(what: str, problems: Sequence[str]) -> None:
    if problems:
        raise ModelError("\n  ".join([f"{what} cannot be loaded:", *problems]))


_EXPECTED = "expected is "


def _no_pipeline(folder: Path) -> str:
    """Return why a folder without an index is no pipeline, and what to do."""
    files = sorted(path.name for path in folder.iterdir() if path.suffix in SINGLE_FILES)
    below = sorted(path.parent for path in folder.glob("*/model_index.json"))
    below += sorted(path.parent for path in folder.glob("snapshots/*/model_index.json"))
    if below:
        return f"but {below[0]} has one: name that folder"
    if is_there(folder / "config.json"):
        return "so it is one part of a pipeline at most: name the folder that holds all of its parts"
    if files:
        return f"but {listed(files)}: {convert(str(folder / files[0]))}"
    return "so it is no diffusers pipeline; save one with `pipeline.save_pretrained(folder)`"


def convert(path: str) -> str:
    """Return how a checkpoint in a single file becomes a pipeline's folder."""
    return (
        "a checkpoint in a single file is converted once with "
        f"`StableDiffusionPipeline.from_single_file({path!r}).save_pretrained(FOLDER)`; name that folder"
    )


def _part_problems(
    folder: Path, part: str, library: str, class_name: str, *, pipeline: str, variant: str
) -> Iterator[str]:
    """Yield what is wrong with one part of a pipeline."""
    if not (folder / part).is_dir():
        yield f"{part}/ is not there, but model_index.json names it: download or copy the whole folder"
    elif part == "scheduler":
        yield from _config_problems(folder / part, "scheduler_config.json", part, pipeline)
    elif part.startswith("tokenizer"):
        yield from _tokenizer_problems(folder / part)
    elif library not in BASES:
        yield f"{part} is a {class_name} of {library!r}: only parts of diffusers and transformers are loaded"
    elif class_name not in CLASSES.get(part, (class_name,)):
        yield f"{part} is a {class_name}, which is not supported; supported is {' or '.join(CLASSES[part])}"
    else:
        kind = "text_encoder" if part.startswith("text_encoder") else part
        yield from _config_problems(folder / part, "config.json", kind, pipeline)
        yield from _weights_found(folder / part, BASES[library], variant)


def _config_problems(folder: Path, name: str, kind: str, pipeline: str) -> Iterator[str]:
    """Yield what is wrong with the config of a part."""
    try:
        config = read_json(folder / name)
    except DamagedFileError as error:
        yield f"{folder.name}/{name} {error}"
        return
    for field, expected in FIELDS.get(kind, {}).items():
        if field in config and not _is(config[field], expected):
            yield f"{folder.name}/{name}: {field} is {_json_word(config[field])}: {_EXPECTED}{expected}"
    for field, value in _too_large(config):
        yield f"{folder.name}/{name}: {field} is {value}: no network has so many of anything"
    if absent := list(absent_fields(pipeline, kind, config)):
        yield (
            f"{folder.name}/{name} does not say {', '.join(absent)}, which its network was trained with: take the file "
            "of the model's authors"
        )


def _too_large(config: Any, field: str = "") -> Iterator[tuple[str, int]]:
    """Yield whole numbers, however deep, that would keep a network from ever being built: (field, number)."""
    if isinstance(config, dict):
        for name, value in config.items():
            yield from _too_large(value, str(name))
    elif isinstance(config, list):
        for value in config:
            yield from _too_large(value, field)
    elif isinstance(config, int) and config > LARGEST:
        yield field, config


def _is(value: Any, expected: str) -> bool:
    if expected == WORD:
        return isinstance(value, str)
    if expected == COUNTS:
        return isinstance(value, list) and bool(value) and all(_is(each, COUNT) for each in value)
    kinds = (int,) if expected == COUNT else (int, float)
    return isinstance(value, kinds) and not isinstance(value, bool) and value > 0


def _json_word(value: Any) -> str:
    return {"None": "null", "True": "true", "False": "false"}.get(str(value), repr(value)[:60])


def _weights_found(folder: Path, base: str, variant: str) -> Iterator[str]:
    """Yield what is wrong with a network's weights, among it that there are none."""
    weights = find_weights(folder, base, variant)
    if weights is not None:
        yield from weight_problems(weights, folder, quantized=_is_quantized(folder))
        return
    names = sorted(path.name for path in folder.iterdir())
    found = {name.removeprefix(f"{base}.").split(".")[0].split("-")[0] for name in names if _is_variant(name, base)}
    pickles = [name for name in names if name.endswith((".bin", ".pt", ".pth", ".ckpt"))]
    if found:
        yield (
            f"{folder.name}/{base}.safetensors is not there, only "
            f"{'the variant' if len(found) == 1 else 'the variants'} {', '.join(sorted(found))}: "
            f"set model.variant: {min(found)}"
        )
    elif pickles:
        yield (
            f"{folder.name}/ has pickled weights only ({listed(pickles)}); only safetensors files are read, because a "
            "pickle can run any program. Convert those of a source you trust: load the model with "
            "`from_pretrained(folder, use_safetensors=False)` and `save_pretrained(NEW_FOLDER)`"
        )
    else:
        yield f"{folder.name}/{base}.safetensors is not there: download or copy the whole folder"


def _is_variant(name: str, base: str) -> bool:
    middle = name.removeprefix(f"{base}.").removesuffix(".safetensors")
    return name.startswith(f"{base}.") and name.endswith(".safetensors") and middle not in ("", "safetensors")


def _is_quantized(folder: Path) -> bool:
    try:
        return bool(read_json(folder / "config.json").get("quantization_config"))
    except DamagedFileError:
        return False  # a problem that is listed already


def _tokenizer_problems(folder: Path) -> Iterator[str]:
    wanted = next((names for names in TOKENIZER_FILES if all(is_there(folder / name) for name in names)), None)
    if wanted is None:
        yield (
            f"{folder.name}/ has no tokenizer (neither tokenizer.json, nor vocab.json and merges.txt, nor "
            "spiece.model): download or copy the whole folder"
        )
        return
    names = [*wanted, *(name for name in ("tokenizer_config.json",) if is_there(folder / name))]
    for name in names:
        try:
            read_json(folder / name) if name.endswith(".json") else read_small_file(folder / name)
        except DamagedFileError as error:
            yield f"{folder.name}/{name} {error}"
