"""From a config section to a model in memory. The only place that looks for model files."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from diffusers import (
    DiffusionPipeline,
    FluxPipeline,
    LatentConsistencyModelPipeline,
    ModelMixin,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
)

from augment.errors import ModelError
from augment.models.config import ModelConfig, pinned
from augment.models.diffusers_model import DiffusersModel
from augment.models.files import BASES, PIPELINES, check_pipeline
from augment.models.flux import Flux
from augment.models.interface import LatentDiffusion
from augment.models.packaged import packaged_model
from augment.models.precision import warn_of_emulation
from augment.models.sd3 import StableDiffusion3
from augment.models.sdxl import StableDiffusionXL
from augment.models.stable_diffusion import StableDiffusion
from augment.models.strict import explained, load_network, load_scheduler, quiet
from augment.models.weights import find_weights, read_json

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
LIBRARIES = {"diffusers": diffusers, "transformers": transformers}
UNUSED_PARTS = {"safety_checker", "feature_extractor", "image_encoder"}  # never loaded
NO_SAFETY_CHECKER = {"requires_safety_checker": False}


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

    Args:
        config: of a folder, `revision` is empty or what `pinned` has found: it is not compared with the files.

    Raises:
        ModelError: if the model is missing, damaged, of an unsupported family or scheduler, its weights do not fit its
            configs, or the device is not there.
    """
    _check_device(config.device)
    warn_of_emulation(config.torch_device, config.dtype, "model.dtype")
    packaged = packaged_model(config.name)
    local = packaged is not None or Path(config.name).is_dir()
    if packaged is not None or not (local and config.revision):
        config = pinned(config)  # a folder's weights are not hashed again in every worker
    quiet()
    what = f"model {config.name!r}"
    if packaged is not None:
        folder = packaged.folder
    else:
        folder = Path(config.name) if local else _downloaded(config)
        check_pipeline(folder, config.name, config.variant)
    index = read_json(folder / "model_index.json")
    class_name = (packaged.pipeline_class if packaged is not None else "") or index["_class_name"]
    family = FAMILIES[class_name]
    parts: dict[str, Any] = {}
    for name in PIPELINES[class_name]:
        own = packaged.parts.get(name) if packaged is not None else None
        parts[name] = _load_part(config, what, name, index.get(name), own or folder / name)
    arguments = inspect.signature(family.pipeline.__init__).parameters
    settings = {key: value for key, value in index.items() if key in arguments and not isinstance(value, list)}
    unused = dict.fromkeys(UNUSED_PARTS & arguments.keys())
    with explained(what, "pipeline"):
        # Not by `from_pretrained`, which wants the classes of all parts, of a scheduler too that is not made here.
        pipeline = family.pipeline(**{**settings, **unused, **parts, **family.options})
    return _wrapped(family.model, pipeline, config)


def _downloaded(config: ModelConfig) -> Path:
    """Return the folder of a hub model in the cache, complete."""
    try:
        return Path(
            DiffusionPipeline.download(
                config.name,
                revision=config.revision,
                variant=config.variant or None,
                use_safetensors=True,
                **dict.fromkeys(UNUSED_PARTS),
            )
        )
    except (OSError, ValueError) as error:
        raise ModelError(
            f"model {config.name!r} cannot be downloaded: {str(error).splitlines()[0]}; only safetensors files are "
            "read (model.variant: fp16 chooses those of half precision)"
        ) from error


def _load_part(config: ModelConfig, what: str, name: str, entry: list[Any] | None, folder: Path) -> Any:
    """Return one part of a pipeline, loaded; None for one that it was saved without.

    Args:
        config: of the model.
        what: the model, for messages.
        name: of the part in the pipeline.
        entry: library and class of the part, as the pipeline's index has them.
        folder: of the part; a packaged model may have another scheduler there than the index names.
    """
    if entry in (None, [None, None]):
        return None
    library, class_name = entry
    if name == "scheduler":
        class_name = read_json(folder / "scheduler_config.json").get("_class_name", class_name)
    cls = getattr(LIBRARIES.get(library), class_name, None)
    if cls is None:
        raise ModelError(
            f"{what}: its {name} is a {class_name}, which this release of {library} does not have; update the package "
            f"(`pip install -U {library}`)"
        )
    if name == "scheduler":
        return load_scheduler(cls, folder, what)
    if name.startswith("tokenizer"):
        with explained(what, name):
            return cls.from_pretrained(folder)
    weights = find_weights(folder, BASES[library], config.variant)
    variant = weights.variant or None if weights is not None else None
    return load_network(cls, folder, what, name, dtype=DTYPES[config.dtype], variant=variant)


def _wrapped(family: Callable[..., DiffusersModel], pipeline: Any, config: ModelConfig) -> LatentDiffusion:
    if config.dtype == "float32":
        # TF32 convolutions would leave residuals at 1e-3 and make results depend on the batch's size.
        torch.backends.cudnn.allow_tf32 = False
    for part in pipeline.components.values():
        # Without accelerate diffusers 0.42 leaves SD3's network in its file's dtype: it looks at a float32 buffer.
        if isinstance(part, ModelMixin) and any(tensor.dtype != DTYPES[config.dtype] for tensor in part.parameters()):
            part.to(DTYPES[config.dtype])
    pipeline = pipeline.to(config.torch_device)
    with explained(f"model {config.name!r}", "pipeline"):
        return family(pipeline, model_id=config.name, revision=config.revision)


def _check_device(device: str) -> None:
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ModelError(f"device {device!r}: this machine has no CUDA GPU that torch can use; set model.device: cpu")
