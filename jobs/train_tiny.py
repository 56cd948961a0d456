"""The recipe that made the embedded model: renders -> autoencoder, judge, CLIP -> text encoder and UNet -> student.

    python -m jobs.train_tiny configs/train/emoji_cpu.yaml

Run it again after an interruption and it goes on from the last checkpoint. `--stages` limits the run to some parts.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
import yaml

from augment.tiny import networks, stages
from augment.tiny.autoencoder import build_glyph_classifier, glyph_loss, vae_loss
from augment.tiny.captions import vocabulary
from augment.tiny.distillation import distillation_loss, student_from
from augment.tiny.training import TrainConfig, train_stage, weights_digest
from augment.tiny.world import CLASSES
from augment.training.classifier import AttributeClassifier

STAGES = ("glyphs", "vae", "judge", "clip", "unet", "student")


def train_autoencoder(config: TrainConfig, *, only_glyphs: bool) -> None:
    """Train the perceptual network and, with it, the autoencoder; write `vae/` under `config.output_dir`."""
    cache = stages.render_scenes(config.work_dir, config.num_scenes, config.seed, "textured")
    torch.manual_seed(config.seed)
    loss = glyph_loss(cache, config.device)
    classifier = build_glyph_classifier().to(memory_format=torch.channels_last)
    perceptual = train_stage("glyphs", classifier, loss, config.glyphs, config)
    if only_glyphs:
        return
    vae = networks.build_vae()
    if config.vae_init:
        vae = networks.start_from(vae, config.vae_init)
    vae = vae.to(memory_format=torch.channels_last)
    loss = vae_loss(cache, perceptual, config.device, config.vae_terms, compiled=config.compile_vae)
    upstream = f"{weights_digest(perceptual)} {config.vae_terms} {weights_digest(vae)}"
    vae = train_stage("vae", vae, loss, config.vae, config, upstream=upstream)
    networks.save_vae(config.output_dir / "vae", vae)


def train(config: TrainConfig, selected: tuple[str, ...] = STAGES) -> None:
    """Train the selected parts and write `pipeline/`, `clip/`, `judge/` and `student/` under `config.output_dir`."""
    torch.manual_seed(config.seed)  # the initial weights; every later random number has its own generator
    device = config.device
    tokenizer = networks.build_tokenizer(vocabulary(CLASSES))
    unet, text_encoder = networks.build_unet(), networks.build_text_encoder(tokenizer)
    clip, judge = networks.build_clip(tokenizer), AttributeClassifier(stages.ATTRIBUTES)
    output = config.output_dir

    if {"glyphs", "vae"} & set(selected):
        train_autoencoder(config, only_glyphs="vae" not in selected)
    if set(selected) <= {"glyphs", "vae"}:
        return
    cache = stages.render_scenes(config.work_dir, config.num_scenes, config.seed)

    if "judge" in selected:
        judge = train_stage("judge", judge, stages.judge_loss(cache, device), config.judge, config)
        judge.save(output / "judge")
    if "clip" in selected:
        clip = train_stage("clip", clip, stages.clip_loss(cache, tokenizer, device), config.clip, config)
        networks.save_clip(output / "clip", clip, tokenizer)
    if "vae" in selected or "unet" in selected:
        loss = stages.vae_loss(cache, device, config.kl_weight, compiled=config.compile_vae)
        vae = train_stage("vae", vae, loss, config.vae, config)
    if "unet" in selected:
        latents, factor = stages.encode_scenes(vae, cache, device)
        print(f"scaling_factor {factor:.4f}", flush=True)
        loss = stages.unet_loss(
            latents,
            cache,
            tokenizer,
            networks.build_scheduler(),
            device,
            caption_dropout=config.caption_dropout,
            snr_gamma=config.snr_gamma,
        )
        denoiser = stages.ConditionedDenoiser(unet, text_encoder)
        denoiser = train_stage("unet", denoiser, loss, config.unet, config, upstream=weights_digest(vae))
        networks.save_pipeline(
            output / "pipeline",
            vae=vae,
            text_encoder=denoiser.text_encoder,
            tokenizer=tokenizer,
            unet=denoiser.unet,
        )
    if "student" in selected:
        pipeline = networks.load_pipeline(output / "pipeline", device)
        latents, _ = stages.encode_scenes(pipeline.vae, cache, device)
        teacher = stages.ConditionedDenoiser(pipeline.unet, pipeline.text_encoder)
        loss = distillation_loss(
            latents,
            cache,
            pipeline.tokenizer,
            teacher,
            device,
            guidance_max=config.guidance_max,
            stride=config.distillation_stride,
        )
        unet = student_from(pipeline.unet, networks.build_unet(time_cond_proj_dim=networks.GUIDANCE_WIDTH))
        settings = (config.guidance_max, config.distillation_stride)
        upstream = f"{weights_digest(teacher)} {weights_digest(pipeline.vae)} {settings}"
        unet = train_stage("student", unet, loss, config.student, config, upstream=upstream)
        networks.save_student(output / "student", unet)
    print(f"revision {networks.write_revision(output)}", flush=True)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", type=Path)
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=STAGES)
    parser.add_argument("--threads", type=int, default=None, help="CPU threads (default: all)")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    train(TrainConfig.model_validate(yaml.safe_load(arguments.config.read_text())), tuple(arguments.stages))


if __name__ == "__main__":
    main()
