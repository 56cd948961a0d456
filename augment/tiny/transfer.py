"""A denoiser that begins with the weights of an earlier one, which knew fewer latent channels or other words."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

_EMBEDDING = "embeddings.token_embedding.weight"


def start_unet_from(unet: UNet2DConditionModel, folder: Path) -> UNet2DConditionModel:
    """Copy the weights of a saved UNet of the same layers and as many latent channels or fewer; return `unet`.

    Of channels that the saved one does not have it hears nothing yet, and predicts zero for them.
    """
    saved = UNet2DConditionModel.from_pretrained(folder, use_safetensors=True, low_cpu_mem_usage=False).float()
    weights = unet.state_dict()
    with torch.no_grad():
        for name, tensor in saved.state_dict().items():
            weights[name].zero_()
            weights[name][tuple(slice(size) for size in tensor.shape)] = tensor
    return unet


def start_text_encoder_from(encoder: CLIPTextModel, tokenizer: CLIPTokenizer, folder: Path) -> CLIPTextModel:
    """Copy the weights of a saved text encoder, word by word; return `encoder`.

    Words that the saved one does not know as one token keep the embedding that `encoder` has for them.

    Args:
        encoder: for the tokens of `tokenizer`.
        folder: of a pipeline, with `text_encoder/` and `tokenizer/`.
    """
    saved = CLIPTextModel.from_pretrained(folder / "text_encoder").float()
    ids = CLIPTokenizer.from_pretrained(folder / "tokenizer").get_vocab()
    known = {token: i for token, i in tokenizer.get_vocab().items() if token in ids}
    old: dict[str, Tensor] = saved.state_dict()
    with torch.no_grad():
        for name, tensor in encoder.state_dict().items():
            if name.endswith(_EMBEDDING):
                tensor[list(known.values())] = old[name][[ids[token] for token in known]]
            elif name in old and tensor.is_floating_point():
                tensor.copy_(old[name])
    return encoder
