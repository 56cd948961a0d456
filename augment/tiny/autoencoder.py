"""What the autoencoder learns: pixels, edges, and what a network that knows glyphs sees in a picture."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor, nn

from augment.tiny.networks import LATENT_CHANNELS, LATENT_SIZE
from augment.tiny.stages import SceneCache, glyph_attributes
from augment.tiny.training import LossFn, StepRandom, VaeTerms
from augment.training.classifier import AttributeClassifier

PERCEPTUAL_WIDTHS = (32, 64, 96, 128)


def build_glyph_classifier() -> AttributeClassifier:
    """Return the untrained perceptual network: a classifier of the glyphs that are not held out, and of marks."""
    return AttributeClassifier(glyph_attributes(), PERCEPTUAL_WIDTHS)


def glyph_loss(cache: SceneCache, device: str) -> LossFn:
    """Return the sum of the cross-entropies of glyph and mark, on pictures with slight noise, half of them mirrored."""

    def loss(model: nn.Module, random: StepRandom, batch_size: int) -> Tensor:
        indices = np.sort(random.numpy.integers(len(cache.images), size=batch_size))
        pixels = _half_mirrored(cache.pixels(indices, device))
        level = torch.rand(batch_size, 1, 1, 1, generator=random.torch).to(device) * 0.2
        logits = model(pixels + level * random.normal(tuple(pixels.shape), device))
        labels = torch.from_numpy(cache.labels[indices]).to(device)
        targets = {"glyph": labels[:, 3], "mark": labels[:, 4]}
        return torch.stack([F.cross_entropy(logits[name].float(), target) for name, target in targets.items()]).sum()

    return loss


def vae_loss(
    cache: SceneCache, perceptual: AttributeClassifier, device: str, weights: VaeTerms, *, compiled: bool = False
) -> LossFn:
    """Return the loss of the autoencoder, on pictures of which half are mirrored.

    It is mean squared error in -1..1 (PSNR is what inversion is measured against), a light KL term, the mean absolute
    difference of edges, and the squared difference of the perceptual network's features, each brought to unit length
    over its channels (Zhang et al. 2018, eq. 1, without their weights).

    Args:
        compiled: use `torch.compile`, a third faster on a CPU after minutes of compiling.
    """
    perceptual.to(device).eval().requires_grad_(False)

    def terms(model: AutoencoderKL, pixels: Tensor, noise: Tensor) -> Tensor:
        posterior = model.encode(pixels).latent_dist
        mean, logvar = posterior.mean.float(), posterior.logvar.float()
        decoded = model.decode(mean + (0.5 * logvar).exp() * noise).sample.float()
        kl = 0.5 * (mean.square() + logvar.exp() - 1.0 - logvar).mean()
        total = F.mse_loss(decoded, pixels) + weights.kl * kl + weights.edges * edge_difference(decoded, pixels)
        half = slice(None, None, 2)  # the features cost as much as the autoencoder; half the pictures are enough
        return total + weights.perceptual * feature_difference(perceptual, decoded[half], pixels[half])

    evaluate = torch.compile(terms) if compiled else terms

    def loss(model: nn.Module, random: StepRandom, batch_size: int) -> Tensor:
        indices = np.sort(random.numpy.integers(len(cache.images), size=batch_size))
        pixels = _half_mirrored(cache.pixels(indices, device)).contiguous(memory_format=torch.channels_last)
        shape = (batch_size, LATENT_CHANNELS, LATENT_SIZE, LATENT_SIZE)
        return evaluate(model, pixels, random.normal(shape, device))

    return loss


def edge_difference(one: Tensor, other: Tensor) -> Tensor:
    """Return the mean absolute difference of the first differences of two batches [B, C, H, W], across and down."""
    rest = one - other
    across, down = rest[..., 1:] - rest[..., :-1], rest[..., 1:, :] - rest[..., :-1, :]
    return across.abs().mean() + down.abs().mean()


def feature_difference(network: AttributeClassifier, made: Tensor, wanted: Tensor) -> Tensor:
    """Return the mean over layers of the squared distance between a network's unit features of two batches.

    The gradient goes to `made` only.
    """
    with torch.no_grad():
        targets = _unit_features(network, wanted)
    pairs = zip(_unit_features(network, made), targets, strict=True)
    return torch.stack([(one - other).square().sum(dim=1).mean() for one, other in pairs]).mean()


def _unit_features(network: AttributeClassifier, images: Tensor) -> list[Tensor]:
    """Return the features of every block, [B, C, H, W], of unit length over the channels."""
    features, found = network.stem(images), []
    for block in network.blocks:
        features = block(features)
        found.append(F.normalize(features.float(), dim=1, eps=1e-4))
    return found


def _half_mirrored(pixels: Tensor) -> Tensor:
    half = len(pixels) // 2
    return torch.cat([pixels[:half].flip(-1), pixels[half:]])
