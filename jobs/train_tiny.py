"""The recipe that made the embedded model: renders -> autoencoder, judge, CLIP -> text encoder and UNet -> student.

    python -m jobs.train_tiny configs/train/emoji_cpu.yaml

Run it again after an interruption and it goes on from the last checkpoint. `--stages` limits the run to some parts.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import torch
import yaml

from augment.tiny import networks, stages
from augment.tiny.autoencoder import build_glyph_classifier, glyph_loss, vae_loss
from augment.tiny.captions import vocabulary
from augment.tiny.distillation import distillation_loss, student_from
from augment.tiny.training import TrainConfig, train_stage, weights_digest
from augment.tiny.transfer import start_text_encoder_from, start_unet_from
from augment.tiny.world import CLASSES
from augment.training.classifier import AttributeClassifier


def train_glyphs(config: TrainConfig) -> AttributeClassifier:
    """Train the network whose features the autoencoder learns from, and return it; it is no part of the result."""
    torch.manual_seed(config.seed)  # the initial weights; every later random number has its own generator
    cache = _scenes(config, "textured")
    classifier = build_glyph_classifier().to(memory_format=torch.channels_last)
    return train_stage("glyphs", classifier, glyph_loss(cache), config.glyphs, config)


def train_vae(config: TrainConfig) -> None:
    """Train the autoencoder, then its decoder alone, and write `vae/`, unless the config names a finished one."""
    if config.vae_from:
        return
    perceptual = train_glyphs(config)
    torch.manual_seed(config.seed)
    cache = _scenes(config, "textured")
    vae = networks.build_vae()
    if config.vae_init:
        vae = networks.start_from(vae, config.vae_init)
    vae = vae.to(memory_format=torch.channels_last)
    loss = vae_loss(cache, perceptual, config.vae_terms, compiled=config.compile_vae)
    upstream = f"{weights_digest(perceptual)} {config.vae_terms} {weights_digest(vae)}"
    vae = train_stage("vae", vae, loss, config.vae, config, upstream=upstream)
    if config.decoder:
        vae.requires_grad_(True)
        for part in (vae.encoder, vae.quant_conv):  # the latents stay: what was learned of them stays true
            part.requires_grad_(False)
        loss = vae_loss(cache, perceptual, config.decoder_terms, compiled=config.compile_vae)
        upstream = f"{weights_digest(perceptual)} {config.decoder_terms} {weights_digest(vae)}"
        vae = train_stage("decoder", vae, loss, config.decoder, config, upstream=upstream)
    networks.save_vae(config.output_dir / "vae", vae)


def train_judge(config: TrainConfig) -> None:
    """Train the judge of generated pictures, on renders only, and write `judge/`."""
    torch.manual_seed(config.seed)
    judge = AttributeClassifier(stages.ATTRIBUTES)
    loss = stages.judge_loss(_scenes(config))
    train_stage("judge", judge, loss, config.judge, config).save(config.output_dir / "judge")


def train_clip(config: TrainConfig) -> None:
    """Train the CLIP pair and write `clip/`."""
    torch.manual_seed(config.seed)
    tokenizer = networks.build_tokenizer(vocabulary(CLASSES))
    loss = stages.clip_loss(_scenes(config), tokenizer)
    clip = train_stage("clip", networks.build_clip(tokenizer), loss, config.clip, config)
    networks.save_clip(config.output_dir / "clip", clip, tokenizer)


def train_unet(config: TrainConfig) -> None:
    """Train text encoder and UNet on the finished autoencoder's latents and write `pipeline/`."""
    torch.manual_seed(config.seed)
    tokenizer, cache = networks.build_tokenizer(vocabulary(CLASSES)), _scenes(config, "denoiser")
    denoiser = stages.ConditionedDenoiser(networks.build_unet(), networks.build_text_encoder(tokenizer))
    if config.denoiser_init:
        start_unet_from(denoiser.unet, config.denoiser_init / "unet")
        start_text_encoder_from(denoiser.text_encoder, tokenizer, config.denoiser_init)
    denoiser.text_encoder.requires_grad_(not config.keep_text_encoder)
    vae = networks.load_vae(config.vae_from or config.output_dir / "vae").to(config.device)
    latents = stages.encode_scenes(vae, cache, least_std=config.least_std)
    vae.register_to_config(scaling_factor=latents.factor)
    print(f"scaling_factor {latents.factor:.4f}", flush=True)
    loss = stages.unet_loss(
        latents,
        cache,
        tokenizer,
        networks.build_scheduler(),
        caption_dropout=config.caption_dropout,
        anonymous=config.anonymous,
        snr_gamma=config.snr_gamma,
    )
    upstream = f"{weights_digest(vae)} {weights_digest(denoiser)}"
    denoiser = train_stage("unet", denoiser, loss, config.unet, config, upstream=upstream)
    networks.save_pipeline(
        config.output_dir / "pipeline",
        vae=vae,
        text_encoder=denoiser.text_encoder,
        tokenizer=tokenizer,
        unet=denoiser.unet,
    )


def train_student(config: TrainConfig) -> None:
    """Distil the finished pipeline into its few-step student and write `student/`."""
    torch.manual_seed(config.seed)
    pipeline, cache = networks.load_pipeline(config.output_dir / "pipeline", config.device), _scenes(config, "denoiser")
    factor = pipeline.vae.config.scaling_factor
    latents = stages.encode_scenes(pipeline.vae, cache, factor=factor, least_std=config.least_std)
    teacher = stages.ConditionedDenoiser(pipeline.unet, pipeline.text_encoder)
    loss = distillation_loss(
        latents,
        cache,
        pipeline.tokenizer,
        teacher,
        guidance_max=config.guidance_max,
        stride=config.distillation_stride,
        anonymous=config.anonymous,
    )
    unet = student_from(pipeline.unet, networks.build_unet(time_cond_proj_dim=networks.GUIDANCE_WIDTH))
    settings = (config.guidance_max, config.distillation_stride)
    upstream = f"{weights_digest(teacher)} {weights_digest(pipeline.vae)} {settings}"
    unet = train_stage("student", unet, loss, config.student, config, upstream=upstream)
    networks.save_student(config.output_dir / "student", unet)


STAGES: dict[str, Callable[[TrainConfig], object]] = {
    "vae": train_vae,
    "judge": train_judge,
    "clip": train_clip,
    "unet": train_unet,
    "student": train_student,
}


def train(config: TrainConfig, selected: tuple[str, ...] = tuple(STAGES)) -> None:
    """Train the selected parts, in the recipe's order, and write their folders under `config.output_dir`."""
    for name, stage in STAGES.items():
        if name in selected:
            stage(config)
    print(f"revision {networks.write_revision(config.output_dir)}", flush=True)


def _scenes(config: TrainConfig, sampler: str = "all") -> stages.SceneCache:
    return stages.render_scenes(config.work_dir, config.num_scenes, config.seed, sampler).to(config.device)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", type=Path)
    parser.add_argument("--stages", nargs="+", choices=tuple(STAGES), default=tuple(STAGES))
    parser.add_argument("--threads", type=int, default=None, help="CPU threads (default: all)")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    train(TrainConfig.model_validate(yaml.safe_load(arguments.config.read_text())), tuple(arguments.stages))


if __name__ == "__main__":
    main()
