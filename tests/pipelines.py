"""Real diffusers pipelines at toy size with random weights, made in memory: no download, no mock."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    LatentConsistencyModelPipeline,
    LCMScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
    T5TokenizerFast,
)

from augment.tiny.networks import build_tokenizer

WORDS = ["a", "picture", "of", "fox", "owl", "snow"]
NOISE_SCHEDULE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


def stable_diffusion(
    prediction_type: str = "epsilon", timestep_spacing: str = "leading", seed: int = 0
) -> StableDiffusionPipeline:
    """Stable Diffusion 1's layout: 16x16 images, 4x8x8 latents, two-level UNet."""
    torch.manual_seed(seed)
    tokenizer = build_tokenizer(WORDS)
    text_encoder = CLIPTextModel(clip_config(tokenizer, 32))
    return quiet(
        StableDiffusionPipeline(
            unet=unet(cross_attention_dim=32),
            vae=vae(),
            text_encoder=text_encoder,
            tokenizer=tokenizer,
            scheduler=ddim_scheduler(prediction_type, timestep_spacing),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
    )


def latent_consistency(prediction_type: str = "epsilon") -> LatentConsistencyModelPipeline:
    """The same, with a UNet that is told the guidance scale."""
    torch.manual_seed(0)
    tokenizer = build_tokenizer(WORDS)
    return quiet(
        LatentConsistencyModelPipeline(
            unet=unet(cross_attention_dim=32, time_cond_proj_dim=16),
            vae=vae(),
            text_encoder=CLIPTextModel(clip_config(tokenizer, 32)),
            tokenizer=tokenizer,
            scheduler=LCMScheduler(prediction_type=prediction_type, **NOISE_SCHEDULE),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
    )


def stable_diffusion_xl(
    *,
    force_zeros_for_empty_prompt: bool = True,
    prediction_type: str = "epsilon",
    timestep_spacing: str = "leading",
    time_cond_proj_dim: int | None = None,
) -> StableDiffusionXLPipeline:
    """SDXL's layout: as above, with a second, wider text encoder and a UNet that is told sizes and a pooled prompt."""
    torch.manual_seed(0)
    tokenizer = build_tokenizer(WORDS)
    return quiet(
        StableDiffusionXLPipeline(
            unet=unet(
                cross_attention_dim=32 + 48,
                addition_embed_type="text_time",
                addition_time_embed_dim=8,
                projection_class_embeddings_input_dim=6 * 8 + 24,
                time_cond_proj_dim=time_cond_proj_dim,
            ),
            vae=vae(),
            text_encoder=CLIPTextModel(clip_config(tokenizer, 32)),
            text_encoder_2=CLIPTextModelWithProjection(clip_config(tokenizer, 48, projection_dim=24)),
            tokenizer=tokenizer,
            tokenizer_2=tokenizer,
            scheduler=ddim_scheduler(prediction_type, timestep_spacing),
            force_zeros_for_empty_prompt=force_zeros_for_empty_prompt,
            add_watermarker=False,
        )
    )


def stable_diffusion_3(*, with_t5: bool = True, **scheduler: Any) -> StableDiffusion3Pipeline:
    """Stable Diffusion 3's layout: 16x16 images, 8x8x8 latents, a transformer on patches of 2x2.

    Args:
        scheduler: arguments of its `FlowMatchEulerDiscreteScheduler`; Stable Diffusion 3's own are `shift=3.0`.
    """
    torch.manual_seed(0)
    tokenizer = build_tokenizer(WORDS)
    return quiet(
        StableDiffusion3Pipeline(
            transformer=SD3Transformer2DModel(
                sample_size=8,
                patch_size=2,
                in_channels=8,
                out_channels=8,
                num_layers=2,
                attention_head_dim=16,
                num_attention_heads=2,
                joint_attention_dim=96,
                caption_projection_dim=32,
                pooled_projection_dim=32 + 48,
                pos_embed_max_size=16,
            ),
            vae=vae(latent_channels=8, shift_factor=0.06),
            text_encoder=CLIPTextModelWithProjection(clip_config(tokenizer, 32, projection_dim=32)),
            text_encoder_2=CLIPTextModelWithProjection(clip_config(tokenizer, 48, projection_dim=48)),
            text_encoder_3=t5_encoder(96) if with_t5 else None,
            tokenizer=tokenizer,
            tokenizer_2=tokenizer,
            tokenizer_3=t5_tokenizer() if with_t5 else None,
            scheduler=FlowMatchEulerDiscreteScheduler(**{"shift": 3.0, **scheduler}),
        )
    )


def flux(*, guidance_embeds: bool, use_dynamic_shifting: bool) -> FluxPipeline:
    """FLUX.1's layout; dev is told the guidance scale and shifts by image size, schnell does neither."""
    torch.manual_seed(0)
    tokenizer = build_tokenizer(WORDS)
    return quiet(
        FluxPipeline(
            transformer=FluxTransformer2DModel(
                in_channels=4 * 8,
                num_layers=1,
                num_single_layers=1,
                attention_head_dim=16,
                num_attention_heads=2,
                joint_attention_dim=48,
                pooled_projection_dim=32,
                guidance_embeds=guidance_embeds,
                axes_dims_rope=(4, 6, 6),
            ),
            vae=vae(latent_channels=8, shift_factor=0.06),
            text_encoder=CLIPTextModel(clip_config(tokenizer, 32)),
            text_encoder_2=t5_encoder(48),
            tokenizer=tokenizer,
            tokenizer_2=t5_tokenizer(),
            scheduler=FlowMatchEulerDiscreteScheduler(
                shift=3.0 if use_dynamic_shifting else 1.0, use_dynamic_shifting=use_dynamic_shifting
            ),
        )
    )


def quiet(pipeline: Any) -> Any:
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def unet(**arguments: Any) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=(16, 32),
        layers_per_block=1,
        norm_num_groups=4,
        attention_head_dim=2,
        **arguments,
    )


def vae(latent_channels: int = 4, **arguments: Any) -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(8, 16),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=latent_channels,
        scaling_factor=4.8,  # unit latents, as of trained models: near zero a normalising UNet is no contraction
        norm_num_groups=4,
        sample_size=16,
        **arguments,
    )


def clip_config(tokenizer: CLIPTokenizer, hidden_size: int, projection_dim: int = 32) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden_size,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=16,
        projection_dim=projection_dim,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=tokenizer.bos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def t5_tokenizer() -> T5TokenizerFast:
    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    return T5TokenizerFast(vocab=[*special, *(("▁" + word, -1.0) for word in WORDS)], extra_ids=0)


def t5_encoder(d_model: int) -> T5EncoderModel:
    return T5EncoderModel(T5Config(vocab_size=16, d_model=d_model, d_kv=8, d_ff=32, num_layers=1, num_heads=2)).eval()


def ddim_scheduler(prediction_type: str, timestep_spacing: str) -> DDIMScheduler:
    return DDIMScheduler(
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        prediction_type=prediction_type,
        timestep_spacing=timestep_spacing,
        **NOISE_SCHEDULE,
    )
