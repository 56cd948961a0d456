"""What the autoencoder learns: pixels, edges, and what a network that knows glyphs sees in a picture."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor, nn

from augment.tiny.networks import LATENT_CHANNELS, LATENT_SIZE
from augment.tiny.stages import SceneCache, glyph_attributes
from augment.tiny.training import LossFn, StepRandom, VaeTerms
from augment.training.classifier import AttributeClassifier

PERCEPTUAL_WIDTHS = (32, 64, 96, 128)
MEAN_EDGES = 0.08  # mean absolute first differences, across plus down, of a picture of `val` in -1..1


def build_glyph_classifier() -> AttributeClassifier:
    """Return the untrained perceptual network: a classifier of the glyphs that are not held out, and of marks."""
    return AttributeClassifier(glyph_attributes(), PERCEPTUAL_WIDTHS)


def glyph_loss(cache: SceneCache) -> LossFn:
    """Return the sum of the cross-entropies of glyph and mark, on pictures with slight noise, half of them mirrored."""

    def loss(model: nn.Module, random: StepRandom, batch_size: int) -> Tensor:
        indices = cache.draw(random, batch_size)
        pixels, labels = _half_mirrored(cache.pixels(indices)), cache.labels[indices]
        level = random.uniform(batch_size, 1, 1, 1) * 0.2
        logits = model(pixels + level * random.normal(*pixels.shape))
        targets = {"glyph": labels[:, 3], "mark": labels[:, 4]}
        return torch.stack([F.cross_entropy(logits[name].float(), target) for name, target in targets.items()]).sum()

    return loss


def vae_loss(
    cache: SceneCache, perceptual: AttributeClassifier, weights: VaeTerms, *, compiled: bool = False
) -> LossFn:
    """Return the loss of the autoencoder, on pictures of which half are mirrored.

    It is mean squared error in -1..1 (PSNR is what inversion is measured against) and differences of edges, with more
    weight for pictures of little contrast; a light KL term; and the squared difference of the perceptual network's
    features, each brought to unit length over its channels (Zhang et al. 2018, eq. 1, without their weights).

    Args:
        compiled: use `torch.compile`, a third faster on a CPU after minutes of compiling.
    """
    perceptual.to(cache.images.device).eval().requires_grad_(False)

    def terms(model: AutoencoderKL, pixels: Tensor, noise: Tensor) -> Tensor:
        posterior = model.encode(pixels).latent_dist
        mean, logvar = posterior.mean.float(), posterior.logvar.float()
        decoded = model.decode(mean + (0.5 * logvar).exp() * noise).sample.float()
        kl = 0.5 * (mean.square() + logvar.exp() - 1.0 - logvar).mean()
        errors = (decoded - pixels).square().mean(dim=(1, 2, 3)) + weights.edges * edge_differences(decoded, pixels)
        errors = errors + weights.energy * energy_differences(decoded, pixels)
        total = (contrast_weights(pixels) ** weights.contrast * errors).mean() + weights.kl * kl
        half = slice(None, None, 2)  # the features cost as much as the autoencoder; half the pictures are enough
        return total + weights.perceptual * feature_difference(perceptual, decoded[half], pixels[half])

    evaluate = torch.compile(terms) if compiled else terms

    def loss(model: nn.Module, random: StepRandom, batch_size: int) -> Tensor:
        pixels = _half_mirrored(cache.pixels(cache.draw(random, batch_size)))
        noise = random.normal(batch_size, LATENT_CHANNELS, LATENT_SIZE, LATENT_SIZE)
        return evaluate(model, pixels.contiguous(memory_format=torch.channels_last), noise)

    return loss


def edge_differences(one: Tensor, other: Tensor) -> Tensor:
    """Return for each pair of pictures [B, C, H, W] the mean absolute difference of their first differences, [B].

    Differences across and down are added.
    """
    rest = one - other
    across, down = rest[..., 1:] - rest[..., :-1], rest[..., 1:, :] - rest[..., :-1, :]
    return across.abs().mean(dim=(1, 2, 3)) + down.abs().mean(dim=(1, 2, 3))


def energy_differences(one: Tensor, other: Tensor) -> Tensor:
    """Return for each pair of pictures [B, C, H, W] how much the means of their edges over 8x8 pixels differ, [B].

    A blurred line has less of them than a sharp one, wherever it lies within those pixels.
    """
    total = torch.zeros(len(one), device=one.device)
    for axis in (-1, -2):
        made, wanted = (F.avg_pool2d(images.diff(dim=axis).abs(), 8, ceil_mode=True) for images in (one, other))
        total = total + (made - wanted).abs().mean(dim=(1, 2, 3))
    return total


def contrast_weights(pixels: Tensor) -> Tensor:
    """Return the weight of each picture, [B] in 0.5..4: the inverse of its edges, about 1 for a mean picture.

    At night and in fog an object's lines are faint; without weights they would be the first to go.
    """
    edges = edge_differences(pixels, torch.zeros_like(pixels))
    return (MEAN_EDGES / edges.clamp_min(1e-3)).clamp(0.5, 4.0)


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
