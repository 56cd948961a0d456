"""Pipelines at their published sizes with random weights, made in seconds without a download.

They draw nothing that anybody wants to see. They cost exactly what the trained ones cost, since the time and the memory
of a network depend on its sizes and not on the values of its weights: they are there to be timed.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, EulerAncestralDiscreteScheduler, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from augment.models.diffusers_model import DiffusersModel
from augment.models.load import FAMILIES, UNUSED_PARTS
from augment.models.presets import Preset, presets

Settings = Mapping[str, Any]
WEIGHT_STD = 0.02  # about what keeps activations of these widths near unit scale between two normalisations

_BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}
_LEADING = {"clip_sample": False, "set_alpha_to_one": False, **_BETAS}
_TRAILING = {"timestep_spacing": "trailing", **_BETAS}
_VAE = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
    "latent_channels": 4,
    "sample_size": 512,
}
_TOY_VAE = {**_VAE, "block_out_channels": (8, 8, 16, 16), "layers_per_block": 1, "norm_num_groups": 4}
_CLIP_L = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
_CLIP_BIG_G = {
    "hidden_size": 1280,
    "intermediate_size": 5120,
    "num_hidden_layers": 32,
    "num_attention_heads": 20,
    "hidden_act": "gelu",
    "projection_dim": 1280,
}
_TOY_CLIP = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
_TOY_UNET = {"block_out_channels": (16, 32), "layers_per_block": 1, "norm_num_groups": 4, "sample_size": 8}
_SDXL_BLOCKS = {
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "addition_embed_type": "text_time",
    "use_linear_projection": True,
}


@dataclass(frozen=True)
class Sizes:
    """Describe the networks of one pipeline.

    Attributes:
        preset: name of the preset whose family and settings are those of the pipeline.
        unet, vae: what differs from the defaults of diffusers' classes, which are those of Stable Diffusion 1.
        text_encoders: the same for transformers' CLIP; where there are two the second has a projection.
        scheduler: class and arguments.
    """

    preset: str
    unet: Settings
    vae: Settings
    text_encoders: tuple[Settings, ...]
    scheduler: Callable[..., Any] = DDIMScheduler
    noise_schedule: Settings = field(default_factory=lambda: _LEADING)


SIZES = {
    "sd15": Sizes(
        preset="sd15",
        unet={
            "block_out_channels": (320, 640, 1280, 1280),
            "cross_attention_dim": 768,
            "attention_head_dim": 8,
            "sample_size": 64,
        },
        vae={**_VAE, "scaling_factor": 0.18215},
        text_encoders=(_CLIP_L,),
    ),
    "sdxl_turbo": Sizes(
        preset="sdxl-turbo",
        unet={
            **_SDXL_BLOCKS,
            "block_out_channels": (320, 640, 1280),
            "transformer_layers_per_block": (1, 2, 10),
            "attention_head_dim": (5, 10, 20),
            "cross_attention_dim": 2048,
            "addition_time_embed_dim": 256,
            "projection_class_embeddings_input_dim": 6 * 256 + 1280,
            "sample_size": 64,
        },
        vae={**_VAE, "scaling_factor": 0.13025, "force_upcast": True},
        text_encoders=(_CLIP_L, _CLIP_BIG_G),
        scheduler=EulerAncestralDiscreteScheduler,
        noise_schedule=_TRAILING,
    ),
    "toy": Sizes(
        preset="sd15",
        unet={
            **_TOY_UNET,
            "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
            "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
            "cross_attention_dim": 16,
            "attention_head_dim": 2,
        },
        vae={**_TOY_VAE, "scaling_factor": 0.18215},
        text_encoders=(_TOY_CLIP,),
    ),
    "toy_xl": Sizes(
        preset="sdxl-turbo",
        unet={
            **_TOY_UNET,
            **_SDXL_BLOCKS,
            "block_out_channels": (16, 32, 32),
            "transformer_layers_per_block": (1, 1, 2),
            "attention_head_dim": (2, 4, 4),
            "cross_attention_dim": 16 + 16,
            "addition_time_embed_dim": 8,
            "projection_class_embeddings_input_dim": 6 * 8 + 24,
        },
        vae={**_TOY_VAE, "scaling_factor": 0.13025},
        text_encoders=(_TOY_CLIP, {**_TOY_CLIP, "projection_dim": 24}),
        scheduler=EulerAncestralDiscreteScheduler,
        noise_schedule=_TRAILING,
    ),
}


def preset_of_sizes(name: str) -> Preset:
    """Return the preset that users of a pipeline in `SIZES` start with."""
    return presets()[SIZES[name].preset]


def random_model(
    name: str, tokenizer: Any, *, device: str, dtype: torch.dtype = torch.bfloat16, seed: int = 0
) -> DiffusersModel:
    """Return a model of a published size with random weights, in its own family's class.

    Args:
        name: one of `SIZES`.
        tokenizer: a CLIP tokenizer of at most 49408 tokens; two text encoders share it.
        device: of the networks; on `meta` they have shapes and no weights, enough to count operations.
    """
    sizes = SIZES[name]
    family = FAMILIES[preset_of_sizes(name).family]
    parts: dict[str, Any] = {}
    with torch.device("meta"):
        parts |= {"unet": UNet2DConditionModel(**sizes.unet), "vae": AutoencoderKL(**sizes.vae)}
        for end, cls, settings in zip(("", "_2"), _text_classes(sizes), sizes.text_encoders, strict=False):
            parts[f"text_encoder{end}"] = cls(_text_config(tokenizer, settings))
    for number, network in enumerate(parts.values()):
        nn.Module.to(network, dtype)  # that of diffusers' own classes warns about parts that neither of these has
        if device != "meta":
            _fill(network.to_empty(device=device), seed + number)
    tokenizers = {f"tokenizer{end}": tokenizer for end in ("", "_2")[: len(sizes.text_encoders)]}
    unused = dict.fromkeys(UNUSED_PARTS & inspect.signature(family.pipeline.__init__).parameters.keys())
    scheduler = sizes.scheduler(**sizes.noise_schedule)
    pipeline = family.pipeline(**parts, **tokenizers, scheduler=scheduler, **unused, **family.options)
    return family.model(pipeline, model_id=f"{name} with random weights", revision="")


def _text_classes(sizes: Sizes) -> tuple[Any, ...]:
    return (CLIPTextModel,) if len(sizes.text_encoders) == 1 else (CLIPTextModel, CLIPTextModelWithProjection)


def _text_config(tokenizer: Any, settings: Settings) -> Any:
    special = {f"{end}_token_id": getattr(tokenizer, f"{end}_token_id") for end in ("bos", "eos", "pad")}
    return CLIPTextConfig(**{"vocab_size": 49408, "max_position_embeddings": 77, **settings, **special})


@torch.no_grad()
def _fill(network: nn.Module, seed: int) -> None:
    """Give a network, whose memory holds anything, its values: weights from N(0, 0.02^2), norms 1, biases 0.

    Raises:
        ValueError: for a buffer whose values are not known.
    """
    parameters = list(network.named_parameters())
    generator = torch.Generator(parameters[0][1].device).manual_seed(seed)
    for name, weight in parameters:
        _fill_weight(name, weight, generator)
    for name, buffer in network.named_buffers():  # not persistent, so that no checkpoint would bring them either
        if not name.endswith("position_ids"):
            raise ValueError(f"{type(network).__name__}: the values of its buffer {name!r} are not known")
        buffer.copy_(torch.arange(buffer.shape[-1], device=buffer.device).expand(buffer.shape))


def _fill_weight(name: str, weight: Tensor, generator: torch.Generator) -> None:
    if weight.ndim > 1:
        weight.normal_(0.0, WEIGHT_STD, generator=generator)
    else:
        weight.fill_(0.0 if name.endswith("bias") else 1.0)
