"""From a config section to a model in memory. The only place that looks for model files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    DiffusionPipeline,
    FluxPipeline,
    LatentConsistencyModelPipeline,
    LCMScheduler,
    ModelMixin,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging

from augment.errors import ModelError
from augment.models.config import ModelConfig, pinned
from augment.models.diffusers_model import DiffusersModel
from augment.models.flux import Flux
from augment.models.interface import LatentDiffusion
from augment.models.packaged import PackagedModel, packaged_model
from augment.models.sd3 import StableDiffusion3
from augment.models.sdxl import StableDiffusionXL
from augment.models.stable_diffusion import StableDiffusion

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
NO_SAFETY_CHECKER = {"safety_checker": None, "requires_safety_checker": False}


@dataclass(frozen=True)
class Family:
    """Describe how pipelines of one class are loaded, and wrapped.

    Attributes:
        options: what only this pipeline class's `from_pretrained` takes.
    """

    pipeline: Any
    model: Callable[..., DiffusersModel]
    options: Mapping[str, Any] = field(default_factory=dict)


FAMILIES = {
    "StableDiffusionPipeline": Family(StableDiffusionPipeline, StableDiffusion, NO_SAFETY_CHECKER),
    "LatentConsistencyModelPipeline": Family(LatentConsistencyModelPipeline, StableDiffusion, NO_SAFETY_CHECKER),
    # True by default where invisible-watermark is installed; its weak pattern would be in every training image
    "StableDiffusionXLPipeline": Family(StableDiffusionXLPipeline, StableDiffusionXL, {"add_watermarker": False}),
    "StableDiffusion3Pipeline": Family(StableDiffusion3Pipeline, StableDiffusion3),
    "FluxPipeline": Family(FluxPipeline, Flux),
}


def load_model(config: ModelConfig) -> LatentDiffusion:
    """Load a model of any supported family, told apart by the pipeline class its `model_index.json` names.

    Raises:
        ModelError: if the model is missing, of an unsupported family or scheduler, or the device is not there.
    """
    _check_device(config.device)
    packaged = packaged_model(config.name)
    local = packaged is not None or Path(config.name).is_dir()
    if not (local and config.revision):  # a folder's weights are not hashed again in every worker
        config = pinned(config)
    quiet()
    source = str(packaged.folder) if packaged is not None else config.name
    revision = None if local else config.revision
    index = DiffusionPipeline.load_config(source, revision=revision)
    class_name = (packaged.pipeline_class if packaged is not None else "") or index["_class_name"]
    if class_name not in FAMILIES:
        raise ModelError(
            f"model {config.name!r} is a {class_name}, which is not supported; supported are {', '.join(FAMILIES)}"
        )
    family = FAMILIES[class_name]
    # Saved without them, for example Stable Diffusion 3 without T5: diffusers still wants to be told.
    parts: dict[str, Any] = {name: None for name, part in index.items() if part == [None, None]}
    if packaged is not None:
        parts |= _parts(packaged, config)
    try:
        pipeline = family.pipeline.from_pretrained(
            source,
            revision=revision,
            variant=config.variant or None,
            dtype=DTYPES[config.dtype],
            use_safetensors=True,  # None would fall back to unpickling
            low_cpu_mem_usage=find_spec("accelerate") is not None,  # without it diffusers says so at length
            **{**parts, **family.options},
        )
    except (OSError, ValueError) as error:
        raise ModelError(
            f"model {config.name!r} cannot be loaded: {str(error).splitlines()[0]}; only safetensors files are read "
            "(model.variant: fp16 chooses those of half precision)"
        ) from error
    return _wrapped(family.model, pipeline, config)


def _parts(packaged: PackagedModel, config: ModelConfig) -> dict[str, Any]:
    """Return the networks and schedulers that a packaged model has in place of its pipeline's own, by their name."""
    loaded: dict[str, Any] = {}
    for name, folder in packaged.parts.items():
        if (folder / "scheduler_config.json").is_file():
            loaded[name] = LCMScheduler.from_pretrained(folder)
        else:
            loaded[name] = UNet2DConditionModel.from_pretrained(
                folder, dtype=DTYPES[config.dtype], use_safetensors=True, low_cpu_mem_usage=False
            )
    return loaded


def _wrapped(family: Callable[..., DiffusersModel], pipeline: Any, config: ModelConfig) -> LatentDiffusion:
    if config.dtype == "float32":
        # TF32 convolutions would leave residuals at 1e-3 and make results depend on the batch's size.
        torch.backends.cudnn.allow_tf32 = False
    for part in pipeline.components.values():
        # Without accelerate diffusers 0.42 leaves SD3's network in its file's dtype: it looks at a float32 buffer.
        if isinstance(part, ModelMixin) and part.dtype != DTYPES[config.dtype]:
            part.to(DTYPES[config.dtype])
    return family(pipeline.to(config.device), model_id=config.name, revision=config.revision)


def quiet() -> None:
    """Switch progress bars for reading files off: in every worker they would drown the job's own progress."""
    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()


def _check_device(device: str) -> None:
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ModelError(f"device {device!r}: this machine has no CUDA GPU that torch can use; set model.device: cpu")
