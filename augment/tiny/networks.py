"""The embedded model's parts, built from the real diffusers and transformers classes, at the size it ships in.

Stable Diffusion 1's layout at 1/100 of its size: latents of 24 x 8 x 8 for a 64 x 64 image, a two-level UNet with
cross-attention, and a word-level CLIP tokenizer. `jobs/train_tiny.py` trains these; nothing here is trained.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, LCMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTokenizer,
    CLIPVisionConfig,
)

IMAGE_SIZE = 64
LATENT_CHANNELS = 24
LATENT_SIZE = 8
TEXT_WIDTH = 128
GUIDANCE_WIDTH = 64
MAX_TOKENS = 16


def build_tokenizer(words: list[str]) -> CLIPTokenizer:
    """Return a CLIP byte-pair tokenizer in which each given word is one token; anything else is spelt by letters.

    A word is merged from its last letter to its first, so that every merge has the end of the word on its right side.
    A word has one end: no merge of another word can take letters from its middle, as merges from the front do.
    """
    alphabet = [chr(c) for c in range(33, 127)]
    tokens = alphabet + [c + "</w>" for c in alphabet]
    merges: list[tuple[str, str]] = []
    for word in words:
        piece = word[-1] + "</w>"
        for letter in reversed(word[:-1]):
            if (letter, piece) not in merges:
                merges.append((letter, piece))
                tokens.append(letter + piece)
            piece = letter + piece
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(
        vocab={token: i for i, token in enumerate(tokens)},
        merges=merges,
        model_max_length=MAX_TOKENS,
        unk_token="<|endoftext|>",
        bos_token="<|startoftext|>",
        eos_token="<|endoftext|>",
        pad_token="<|endoftext|>",
    )


def _text_config(tokenizer: CLIPTokenizer) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=TEXT_WIDTH,
        intermediate_size=4 * TEXT_WIDTH,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=MAX_TOKENS,
        projection_dim=TEXT_WIDTH,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def build_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """Return an untrained text encoder for the tokenizer's words."""
    return CLIPTextModel(_text_config(tokenizer))


def build_vae() -> AutoencoderKL:
    """Return an untrained autoencoder of factor 8, without attention.

    It has one normalisation group, so that brightness survives the normalisations. Every residual branch starts at
    zero: the untrained autoencoder is almost linear, and learns faster for it.
    """
    channels = (16, 24, 64, 96)
    vae = AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * len(channels),
        up_block_types=("UpDecoderBlock2D",) * len(channels),
        block_out_channels=channels,
        layers_per_block=1,
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=1,
        sample_size=IMAGE_SIZE,
        mid_block_add_attention=False,
    )
    for name, module in vae.named_modules():
        if name.endswith("conv2"):
            torch.nn.init.zeros_(module.weight)
            torch.nn.init.zeros_(module.bias)
    return vae


def start_from(vae: AutoencoderKL, folder: Path) -> AutoencoderKL:
    """Copy the weights of a saved autoencoder that has as many latent channels or fewer; return `vae`.

    Its first channels are then the saved one's, and it decodes from them as the saved one does. The others begin as
    the untrained encoder and decoder have them, nearly unheard: the decoder's weights for them are a tenth.
    """
    saved = AutoencoderKL.from_pretrained(folder, use_safetensors=True, low_cpu_mem_usage=False)
    new, old = vae.config.latent_channels, saved.config.latent_channels
    both = [*range(old), *range(new, new + old)]  # the moments: means, then logarithms of variances
    weights = vae.state_dict()
    identity = torch.eye(2 * new)[..., None, None]
    with torch.no_grad():
        weights["encoder.conv_out.weight"][new:] = 0.0
        weights["encoder.conv_out.bias"][:new], weights["encoder.conv_out.bias"][new:] = 0.0, -3.0
        weights["quant_conv.weight"].copy_(identity)
        weights["post_quant_conv.weight"].copy_(identity[:new, :new])
        weights["decoder.conv_in.weight"] *= 0.1
        weights["quant_conv.bias"].zero_()
        weights["post_quant_conv.bias"].zero_()
        for name, tensor in saved.state_dict().items():
            if name.startswith(("encoder.conv_out", "quant_conv.bias")):
                weights[name][both] = tensor
            elif name == "quant_conv.weight":
                weights[name][np.ix_(both, both)] = tensor
            elif name.startswith("post_quant_conv"):
                weights[name][(slice(old),) * min(2, tensor.ndim)] = tensor
            elif name == "decoder.conv_in.weight":
                weights[name][:, :old] = tensor
            else:
                weights[name].copy_(tensor)
    return vae


def save_vae(folder: Path, vae: AutoencoderKL) -> None:
    """Write the folder of an autoencoder, fp16 safetensors."""
    vae.half().save_pretrained(folder, safe_serialization=True)


def load_vae(folder: Path) -> AutoencoderKL:
    """Return the autoencoder that `save_vae` wrote, in float32."""
    return AutoencoderKL.from_pretrained(folder, dtype=torch.float32, use_safetensors=True, low_cpu_mem_usage=False)


def build_unet(*, time_cond_proj_dim: int | None = None) -> UNet2DConditionModel:
    """Return an untrained denoiser; with `time_cond_proj_dim` it is told the guidance scale (latent consistency)."""
    return UNet2DConditionModel(
        sample_size=LATENT_SIZE,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        block_out_channels=(112, 160),
        layers_per_block=1,
        norm_num_groups=16,
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=(4, 5),  # diffusers' name for the number of heads
        time_cond_proj_dim=time_cond_proj_dim,
    )


def build_scheduler() -> DDIMScheduler:
    """Return Stable Diffusion's noise schedule; trailing spacing, because few steps are the normal case here."""
    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=True,
        steps_offset=1,  # unused by trailing spacing; any other value makes the pipeline warn
        timestep_spacing="trailing",
        prediction_type="epsilon",
    )


def build_student_scheduler() -> LCMScheduler:
    """Return the same noise schedule for the few-step student."""
    return LCMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", original_inference_steps=50)


def build_clip(tokenizer: CLIPTokenizer) -> CLIPModel:
    """Return an untrained CLIP pair: a vision transformer of 64 patches, and a text tower for the tokenizer's words."""
    vision = CLIPVisionConfig(
        image_size=IMAGE_SIZE,
        patch_size=8,
        hidden_size=128,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=4,
        projection_dim=TEXT_WIDTH,
    )
    return CLIPModel(
        CLIPConfig(
            text_config=_text_config(tokenizer).to_dict(),
            vision_config=vision.to_dict(),
            projection_dim=TEXT_WIDTH,
            logit_scale_init_value=2.6592,
        )
    )


def build_image_processor() -> CLIPImageProcessor:
    """Return the processor that brings pictures to 64 x 64 and to -1..1 for CLIP."""
    return CLIPImageProcessor(
        size={"shortest_edge": IMAGE_SIZE},
        crop_size={"height": IMAGE_SIZE, "width": IMAGE_SIZE},
        image_mean=[0.5, 0.5, 0.5],
        image_std=[0.5, 0.5, 0.5],
    )


def tokenize(tokenizer: CLIPTokenizer, captions: list[str]) -> torch.Tensor:
    """Return token ids, int64 [B, MAX_TOKENS], padded and cut as `StableDiffusionPipeline` does."""
    batch = tokenizer(captions, padding="max_length", max_length=MAX_TOKENS, truncation=True, return_tensors="pt")
    return batch.input_ids


def save_pipeline(
    folder: Path,
    *,
    vae: AutoencoderKL,
    text_encoder: CLIPTextModel,
    tokenizer: CLIPTokenizer,
    unet: UNet2DConditionModel,
) -> None:
    """Write a folder that `StableDiffusionPipeline.from_pretrained` loads: fp16 safetensors, nothing pickled."""
    pipeline = StableDiffusionPipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=build_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    vae.register_to_config(_name_or_path="")  # where it was read from is a path of whoever trains
    pipeline.to(torch.float16).save_pretrained(folder, safe_serialization=True)
    # Without a dtype argument diffusers loads in float32 and transformers in the dtype of this file: let them agree.
    config_path = folder / "text_encoder" / "config.json"
    config = json.loads(config_path.read_text())
    config_path.write_text(json.dumps(config | {"dtype": "float32"}, indent=2, sort_keys=True) + "\n")


def load_pipeline(folder: Path, device: str) -> StableDiffusionPipeline:
    """Return the pipeline that `save_pipeline` wrote, in float32 and frozen: the student's teacher."""
    pipeline = StableDiffusionPipeline.from_pretrained(
        folder, dtype=torch.float32, use_safetensors=True, low_cpu_mem_usage=False, safety_checker=None
    ).to(device)
    for part in (pipeline.vae, pipeline.unet, pipeline.text_encoder):
        part.eval().requires_grad_(False)
    return pipeline


def save_student(folder: Path, unet: UNet2DConditionModel) -> None:
    """Write what the student does not share with its teacher: `unet/` and `scheduler/`."""
    unet.half().save_pretrained(folder / "unet", safe_serialization=True)
    build_student_scheduler().save_pretrained(folder / "scheduler")


def write_revision(folder: Path) -> str:
    """Write `folder`/revision.txt, the identity of the weights: a hash over every weight file below the folder."""
    files = sorted(folder.rglob("*.safetensors"))
    for path in files:
        path.chmod(0o644)  # safetensors writes them readable by their owner only
    digest = hashlib.sha256(b"".join(hashlib.sha256(path.read_bytes()).digest() for path in files))
    revision = digest.hexdigest()[:16]
    (folder / "revision.txt").write_text(revision + "\n")
    return revision


def save_clip(folder: Path, clip: CLIPModel, tokenizer: CLIPTokenizer) -> None:
    """Write a folder that `CLIPModel.from_pretrained` loads, fp16, with tokenizer and image processor."""
    clip.half().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    build_image_processor().save_pretrained(folder)
