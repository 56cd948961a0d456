"""From a config section to a model in memory. The only place that looks for model files."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from diffusers import LatentConsistencyModelPipeline, LCMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging

from augment.models.config import EMBEDDED, EMBEDDED_STUDENT, SHIPPED, WEIGHTS, ModelConfig, ModelError, pinned
from augment.models.interface import LatentDiffusion
from augment.models.stable_diffusion import StableDiffusion

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
FAMILIES = {
    "StableDiffusionPipeline": (StableDiffusionPipeline, StableDiffusion),
    "LatentConsistencyModelPipeline": (LatentConsistencyModelPipeline, StableDiffusion),
}


def load_model(config: ModelConfig) -> LatentDiffusion:
    """Load a model of any supported family, told apart by the pipeline class its `model_index.json` names.

    Raises:
        ModelError: if the model is missing, of an unsupported family, or the device is not there.
    """
    _check_device(config.device)
    local = config.name in SHIPPED or Path(config.name).is_dir()
    if not (local and config.revision):  # a folder's weights are not hashed again in every worker
        config = pinned(config)
    quiet()
    if config.name == EMBEDDED_STUDENT:
        return _student(config)
    source = str(WEIGHTS / "pipeline") if config.name == EMBEDDED else config.name
    revision = None if local else config.revision
    class_name = StableDiffusionPipeline.load_config(source, revision=revision)["_class_name"]
    if class_name not in FAMILIES:
        raise ModelError(
            f"model {config.name!r} is a {class_name}, which is not supported; supported are {', '.join(FAMILIES)}"
        )
    pipeline_class, family = FAMILIES[class_name]
    try:
        pipeline = pipeline_class.from_pretrained(
            source,
            revision=revision,
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
    return _wrapped(family, pipeline, config)


def _student(config: ModelConfig) -> LatentDiffusion:
    """The embedded few-step student: its own UNet and scheduler, everything else its teacher's."""
    arguments = {"dtype": DTYPES[config.dtype], "use_safetensors": True, "low_cpu_mem_usage": False}
    pipeline = LatentConsistencyModelPipeline.from_pretrained(
        WEIGHTS / "pipeline",
        unet=UNet2DConditionModel.from_pretrained(WEIGHTS / "student" / "unet", **arguments),
        scheduler=LCMScheduler.from_pretrained(WEIGHTS / "student" / "scheduler"),
        safety_checker=None,
        requires_safety_checker=False,
        **arguments,
    )
    return _wrapped(StableDiffusion, pipeline, config)


def _wrapped(family: type[StableDiffusion], pipeline: Any, config: ModelConfig) -> LatentDiffusion:
    if config.dtype == "float32":
        # TF32 convolutions would leave residuals at 1e-3 and make results depend on the batch's size.
        torch.backends.cudnn.allow_tf32 = False
    return family(pipeline.to(config.device), model_id=config.name, revision=config.revision)


def quiet() -> None:
    """No progress bars for reading files: in every worker they would drown the job's own progress."""
    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()


def _check_device(device: str) -> None:
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ModelError(f"device {device!r}: this machine has no CUDA GPU that torch can use; set model.device: cpu")
