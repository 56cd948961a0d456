"""What each part of the embedded model learns: data and loss of the autoencoder, judge, CLIP pair and denoiser."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, DDIMScheduler
from torch import Tensor, nn
from transformers import CLIPTokenizer

from augment.inputs.tensors import to_images
from augment.models.precision import fast_autocast
from augment.tiny.caption_tokens import CaptionTable
from augment.tiny.glyphs import glyph_names
from augment.tiny.marks import MARKS
from augment.tiny.sampling import sample_training_scene
from augment.tiny.training import LossFn, StepRandom
from augment.tiny.world import (
    BACKGROUNDS,
    CLASSES,
    CONDITIONS,
    IMAGE_SIZE,
    Scene,
    render,
    sample_scene,
)

ATTRIBUTES: dict[str, tuple[str, ...]] = {"object": CLASSES, "background": BACKGROUNDS, "condition": CONDITIONS}
UNNAMED = len(CLASSES)  # label of an object that has no word
RENDER_CHUNK = 2000  # scenes that a process renders at a time


def glyph_attributes() -> dict[str, tuple[str, ...]]:
    """Return what the perceptual network tells apart: every glyph that is not held out, and the marks."""
    return {"glyph": (*CLASSES, *glyph_names("seen")), "mark": ("none", *MARKS)}


@dataclass(frozen=True)
class SceneCache:
    """Rendered training pictures with their attributes: images uint8 [N, 64, 64, 3], labels int64 [N, 5].

    The labels are object (`UNNAMED` if it has no word), background (len(BACKGROUNDS) for a texture), condition, and
    glyph and mark as in `glyph_attributes`.
    """

    images: Tensor
    labels: Tensor

    def to(self, device: str) -> SceneCache:
        """Return the same scenes in the memory of a device."""
        return SceneCache(self.images.to(device), self.labels.to(device))

    def draw(self, random: StepRandom, batch_size: int) -> Tensor:
        """Draw the places of a batch, int64 [B], in rising order, in which a file is read faster."""
        return random.integers(0, len(self.images), batch_size).sort().values

    def pixels(self, indices: Tensor | slice) -> Tensor:
        """Return some pictures, float32 [B, 3, 64, 64] in -1..1."""
        return to_images(self.images[indices])


SAMPLERS: dict[str, Callable[[np.random.Generator], Scene]] = {
    "named": sample_scene,
    "all": sample_training_scene,
    # What it has seen of second objects that no caption names, a denoiser sees in every noise that is not white.
    "denoiser": partial(sample_training_scene, companion_share=0.05),
    "textured": partial(sample_training_scene, texture_share=0.25),
}


def render_scenes(path: Path, count: int, seed: int, sampler: str = "named") -> SceneCache:
    """Render `count` scenes, or reuse the cache at `path` if it was made with the same arguments.

    The shipped splits use other seeds (`dataset.py`), so no training picture is a validation or test picture.

    Args:
        sampler: one of `SAMPLERS`.
    """
    stem = f"{sampler}-{seed}-{count}.npy"
    images_path, labels_path = path / f"scenes-{stem}", path / f"labels-{stem}"
    if not labels_path.exists():  # written last
        path.mkdir(parents=True, exist_ok=True)
        shape = (count, IMAGE_SIZE, IMAGE_SIZE, 3)
        np.lib.format.open_memmap(images_path, mode="w+", dtype=np.uint8, shape=shape).flush()
        starts = range(0, count, RENDER_CHUNK)
        chunks = [(images_path, seed, sampler, start, min(start + RENDER_CHUNK, count)) for start in starts]
        if len(chunks) == 1:
            labels = [_render_chunk(*chunks[0])]
        else:
            context = multiprocessing.get_context("spawn")  # a fork of a process with torch's threads can hang
            with context.Pool(min(len(chunks), len(os.sched_getaffinity(0)))) as pool:
                labels = pool.starmap(_render_chunk, chunks)
        np.save(labels_path, np.concatenate(labels))
    images = np.load(images_path, mmap_mode="c")  # never written to; torch wants memory that could be
    return SceneCache(torch.from_numpy(images), torch.from_numpy(np.load(labels_path)))


def _render_chunk(path: Path, seed: int, sampler: str, start: int, stop: int) -> np.ndarray:
    """Render scenes `start` to `stop` into their place in the file and return their labels."""
    images = np.load(path, mmap_mode="r+")
    labels = np.zeros((stop - start, 5), np.int64)
    glyphs = {name: i for i, name in enumerate(glyph_attributes()["glyph"])}
    for i in range(start, stop):
        scene = SAMPLERS[sampler](np.random.default_rng([seed, i]))
        images[i] = render(scene)
        labels[i - start] = [
            min(glyphs[scene.object], UNNAMED),
            BACKGROUNDS.index(scene.background) if scene.background in BACKGROUNDS else len(BACKGROUNDS),
            CONDITIONS.index(scene.condition),
            glyphs[scene.object],
            1 + MARKS.index(scene.mark.shape) if scene.mark else 0,
        ]
    images.flush()
    return labels


def judge_loss(cache: SceneCache) -> LossFn:
    """Return the sum of the cross-entropies of object, background and condition, on pictures with slight noise.

    An object without a word counts for background and condition only.
    """

    def loss(model: nn.Module, random: StepRandom, batch_size: int) -> Tensor:
        indices = cache.draw(random, batch_size)
        pixels, labels = cache.pixels(indices), cache.labels[indices]
        # Noise, so that the judge reads shapes and not the renderer's exact pixels, which no generator matches.
        level = random.uniform(batch_size, 1, 1, 1) * 0.15
        logits = model(pixels + level * random.normal(*pixels.shape))
        losses = [
            F.cross_entropy(logits[name].float(), labels[:, i], ignore_index=UNNAMED if name == "object" else -100)
            for i, name in enumerate(ATTRIBUTES)
        ]
        return torch.stack(losses).sum()

    return loss


def clip_loss(cache: SceneCache, tokenizer: CLIPTokenizer) -> LossFn:
    """Return the symmetric contrastive loss (Radford et al. 2021); all pairs of the same attributes are positive."""
    captions = CaptionTable(tokenizer, cache.labels.device)

    def loss(model: nn.Module, random: StepRandom, batch_size: int) -> Tensor:
        indices = cache.draw(random, batch_size)
        labels = cache.labels[indices, : len(ATTRIBUTES)]
        output = model(input_ids=captions.draw(labels, random), pixel_values=cache.pixels(indices))
        same = (labels[:, None] == labels[None]).all(dim=2).float()
        target = same / same.sum(dim=1, keepdim=True)
        logits = output.logits_per_image.float()
        return 0.5 * (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target.T))

    return loss


class ConditionedDenoiser(nn.Module):
    """UNet and text encoder as one module, so that they are trained, averaged and saved together."""

    def __init__(self, unet: nn.Module, text_encoder: nn.Module) -> None:
        super().__init__()
        self.unet = unet
        self.text_encoder = text_encoder

    def forward(self, latents: Tensor, timesteps: Tensor, token_ids: Tensor) -> Tensor:
        """Return the noise prediction for latents [B, C, H, W] at timesteps [B] under token ids [B, T]."""
        hidden = self.text_encoder(token_ids)[0]
        return self.unet(latents, timesteps, hidden).sample


@dataclass(frozen=True)
class SceneLatents:
    """What the autoencoder's encoder says of every training picture: mean and standard deviation, fp16 [N, C, 8, 8].

    A denoiser that learns from the means alone takes the smallest departure from them for noise. It is then so strong a
    contraction at little noise that its inverse, which inversion is, blows departures up; the standard deviation is a
    floor to that. Stable Diffusion, too, is trained on draws.

    Attributes:
        factor: what both were multiplied with.
    """

    mean: Tensor
    std: Tensor
    factor: float = 1.0

    def draw(self, indices: Tensor, random: StepRandom) -> Tensor:
        """Draw latents of some pictures, float32 [B, C, 8, 8]."""
        mean = self.mean[indices].float()
        return mean + self.std[indices].float() * random.normal(*mean.shape)


@torch.no_grad()
def encode_scenes(
    vae: AutoencoderKL,
    cache: SceneCache,
    *,
    factor: float | None = None,
    least_std: float = 0.0,
    batch_size: int = 64,
) -> SceneLatents:
    """Return the latents of every training picture.

    Args:
        factor: scale of the latents; without it the means get unit standard deviation.
        least_std: what no standard deviation is below, in the latents' scale.
    """
    vae.eval()
    means, stds = [], []
    for start in range(0, len(cache.images), batch_size):
        pixels = cache.pixels(slice(start, start + batch_size))
        with fast_autocast(pixels.device.type):
            posterior = vae.encode(pixels).latent_dist
        means.append(posterior.mean.float())
        stds.append(posterior.std.float())
    mean, std = torch.cat(means), torch.cat(stds)
    factor = factor or 1.0 / float(mean.std())
    return SceneLatents((mean * factor).half(), (std * factor).clamp_min(least_std).half(), factor)


def unet_loss(
    latents: SceneLatents,
    cache: SceneCache,
    tokenizer: CLIPTokenizer,
    scheduler: DDIMScheduler,
    *,
    caption_dropout: float,
    anonymous: float = 0.0,
    snr_gamma: float,
) -> LossFn:
    """Return the loss of noise prediction (Ho et al. 2020, eq. 14) with min-SNR weights (Hang et al. 2023).

    The weights are min(SNR, gamma) / SNR.
    """
    alphas_cumprod = scheduler.alphas_cumprod.to(cache.labels.device)
    captions = CaptionTable(tokenizer, cache.labels.device)

    def loss(model: nn.Module, random: StepRandom, batch_size: int) -> Tensor:
        indices = cache.draw(random, batch_size)
        ids = captions.draw(cache.labels[indices], random, caption_dropout, anonymous)
        clean = latents.draw(indices, random)
        noise = random.normal(*clean.shape)
        timesteps = random.integers(0, len(alphas_cumprod), batch_size)
        alpha = alphas_cumprod[timesteps].view(-1, 1, 1, 1)
        noisy = alpha.sqrt() * clean + (1 - alpha).sqrt() * noise
        error = (model(noisy, timesteps, ids).float() - noise).square().mean(dim=(1, 2, 3))
        snr = (alpha / (1 - alpha)).flatten()
        return (error * snr.clamp(max=snr_gamma) / snr).mean()

    return loss
