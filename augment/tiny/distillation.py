"""Latent consistency distillation of the embedded model into a few-step student (Luo et al. 2023, algorithm 1)."""

from __future__ import annotations

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTokenizer

from augment.models.stable_diffusion import guidance_embedding
from augment.tiny.caption_tokens import CaptionTable
from augment.tiny.networks import GUIDANCE_WIDTH, build_student_scheduler
from augment.tiny.stages import ConditionedDenoiser, SceneCache, SceneLatents
from augment.tiny.training import LossFn, StepRandom

HUBER = 1e-3  # where the pseudo-Huber loss turns from square to linear, in the latents' unit scale


def student_from(teacher: UNet2DConditionModel, student: UNet2DConditionModel) -> UNet2DConditionModel:
    """Copy the teacher's weights into the student; its projection of the guidance scale is zero: the same function."""
    missing, unexpected = student.load_state_dict(teacher.state_dict(), strict=False)
    assert not unexpected and missing == ["time_embedding.cond_proj.weight"], (missing, unexpected)
    nn.init.zeros_(student.time_embedding.cond_proj.weight)
    return student


def distillation_loss(
    latents: SceneLatents,
    cache: SceneCache,
    tokenizer: CLIPTokenizer,
    teacher: ConditionedDenoiser,
    *,
    guidance_max: float,
    stride: int,
    anonymous: float = 0.0,
) -> LossFn:
    """Return the loss that makes the student's clean latents agree along the teacher's guided trajectory.

    At a random timestep t and guidance scale w, z_t is a noisy picture and z_s, s = t - stride, is where one DDIM step
    of the guided, frozen teacher leads; the student must answer at (z_t, t, w) what it already answers at (z_s, s, w),
    or z_s itself at the end. The target is the student without gradient (Song & Dhariwal 2023, section 3.2).

    Args:
        latents: of the pictures.
        guidance_max: w is uniform in 1..guidance_max.
        stride: training timesteps of a teacher step.
        anonymous: share of the known objects captioned without their word.
    """
    scheduler = build_student_scheduler()
    alphas_cumprod = scheduler.alphas_cumprod.to(cache.labels.device)
    captions = CaptionTable(tokenizer, cache.labels.device)
    grid = scheduler.config.num_train_timesteps // scheduler.config.original_inference_steps

    def answer(model: nn.Module, z: Tensor, t: Tensor, hidden: Tensor, w: Tensor) -> Tensor:
        condition = guidance_embedding(w, GUIDANCE_WIDTH)
        eps = model(z, t, hidden, timestep_cond=condition).sample.float()
        scaled = t.float() * scheduler.config.timestep_scaling
        c_skip, c_out = 0.25 / (scaled**2 + 0.25), scaled / (scaled**2 + 0.25).sqrt()
        alpha = alphas_cumprod[t].view(-1, 1, 1, 1)
        clean = (z - (1 - alpha).sqrt() * eps) / alpha.sqrt()
        return c_skip.view(-1, 1, 1, 1) * z + c_out.view(-1, 1, 1, 1) * clean

    def loss(model: nn.Module, random: StepRandom, batch_size: int) -> Tensor:
        indices = cache.draw(random, batch_size)
        ids = captions.draw(cache.labels[indices], random, anonymous=anonymous)
        clean = latents.draw(indices, random)
        t = random.integers(1, scheduler.config.original_inference_steps + 1, batch_size) * grid - 1
        w = 1 + (guidance_max - 1) * random.uniform(batch_size)
        alpha = alphas_cumprod[t].view(-1, 1, 1, 1)
        z = alpha.sqrt() * clean + (1 - alpha).sqrt() * random.normal(*clean.shape)
        with torch.no_grad():
            hidden = teacher.text_encoder(torch.cat([ids, captions.empty.expand_as(ids)]))[0]
            eps_cond, eps_empty = teacher.unet(torch.cat([z, z]), torch.cat([t, t]), hidden).sample.float().chunk(2)
            eps = eps_empty + w.view(-1, 1, 1, 1) * (eps_cond - eps_empty)
            hidden, s = hidden[:batch_size], (t - stride).clamp_min(-1)
            ends = s < 0
            alpha_s = torch.where(ends, torch.ones_like(alphas_cumprod[0]), alphas_cumprod[s]).view(-1, 1, 1, 1)
            z_s = alpha_s.sqrt() * (z - (1 - alpha).sqrt() * eps) / alpha.sqrt() + (1 - alpha_s).sqrt() * eps
            agreed = answer(model, z_s, s.clamp_min(0), hidden, w)
            target = torch.where(ends.view(-1, 1, 1, 1), z_s, agreed)
        error = answer(model, z, t, hidden, w) - target
        return ((error.square() + HUBER**2).sqrt() - HUBER).mean()

    return loss
