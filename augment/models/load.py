"""From a config section to a model in memory. The only place that looks for model files."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline

from augment.models.config import EMBEDDED, WEIGHTS, ModelConfig, ModelError, embedded_revision
from augment.models.interface import LatentDiffusion
from augment.models.stable_diffusion import StableDiffusion

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
FAMILIES = {"StableDiffusionPipeline": (StableDiffusionPipeline, StableDiffusion)}


def load_model(config: ModelConfig) -> LatentDiffusion:
    """Load a model of any supported family, told apart by the pipeline class its `model_index.json` names.

    Raises:
        ModelError: if the model is missing, of an unsupported family, or the device is not there.
    """
    _check_device(config.device)
    folder, model_id, revision = _locate(config)
    index_path = folder / "model_index.json" if folder else None
    if folder is not None and index_path is not None and not index_path.is_file():
        raise ModelError(
            f"model {config.name!r}: {folder} has no model_index.json, so it is no diffusers pipeline folder; "
            "save one with `pipeline.save_pretrained(folder)`"
        )
    if folder is not None and index_path is not None:
        class_name = json.loads(index_path.read_text())["_class_name"]
    else:
        class_name = StableDiffusionPipeline.load_config(model_id, revision=revision)["_class_name"]
    if class_name not in FAMILIES:
        raise ModelError(
            f"model {config.name!r} is a {class_name}, which is not supported; supported are {', '.join(FAMILIES)}"
        )
    pipeline_class, family = FAMILIES[class_name]
    try:
        pipeline = pipeline_class.from_pretrained(
            folder or model_id,
            revision=None if folder else revision,
            variant=config.variant or None,
            dtype=DTYPES[config.dtype],
            use_safetensors=True,  # None would fall back to unpickling
            low_cpu_mem_usage=find_spec("accelerate") is not None,  # without it diffusers says so at length
            safety_checker=None,
            requires_safety_checker=False,
        )
    except (OSError, ValueError) as error:
        raise ModelError(
            f"model {config.name!r} cannot be loaded: {str(error).splitlines()[0]}; only safetensors files are read "
            "(model.variant: fp16 chooses those of half precision)"
        ) from error
    if config.dtype == "float32":
        # TF32 convolutions would leave residuals at 1e-3 and make results depend on the batch's size.
        torch.backends.cudnn.allow_tf32 = False
    return family(pipeline.to(config.device), model_id=model_id, revision=revision)


def _check_device(device: str) -> None:
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ModelError(f"device {device!r}: this machine has no CUDA GPU that torch can use; set model.device: cpu")


def _locate(config: ModelConfig) -> tuple[Path | None, str, str]:
    """(local folder or None, model id, revision) of a config."""
    if config.name == EMBEDDED:
        return WEIGHTS / "pipeline", EMBEDDED, config.revision or embedded_revision()
    if Path(config.name).is_dir():
        return Path(config.name), config.name, config.revision
    if config.name.startswith((".", "/")) or config.name.count("/") != 1:
        raise ModelError(
            f"model {config.name!r}: no such folder, and no Hugging Face id of the form owner/name; "
            "use `embedded`, a folder that `save_pretrained` wrote, or an id such as stabilityai/sd-turbo"
        )
    # Imported here: only models from the hub need it, and releases of huggingface-hub before 2 lack it.
    from huggingface_hub import resolve_revision

    try:
        # A missing model offline otherwise ends in "does not appear to have a file named model_index.json".
        commit = resolve_revision(config.name, revision=config.revision or None)
    except Exception as error:  # the hub's own errors and whatever its transport raises
        raise ModelError(
            f"model {config.name!r} is neither a folder nor cached nor reachable on the Hugging Face hub "
            f"({type(error).__name__}: {str(error).splitlines()[0]}); "
            f"download it first with `hf download {config.name}`, or use `embedded`"
        ) from error
    return None, config.name, commit.resolved
