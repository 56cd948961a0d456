"""Images between pairs of images: both are inverted, and their noise is interpolated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from augment.diffusion import sample, slerp
from augment.editing.config import EditConfig
from augment.editing.inverted import full_schedule, invert_latents, size_of
from augment.models.interface import ImageSize, LatentDiffusion

Curve = Callable[[Tensor, Tensor, float], Tensor]


@dataclass(frozen=True)
class InvertedNoise:
    """The noise that regenerates images: at the start of the schedule, and what each step adds, if any.

    Attributes:
        latents: float32 [B, C, H, W].
        steps: per step in sampling order a tensor like `latents`; None for samplers that add none.
        image_size: of the images, in pixels; None for the model's own.
    """

    latents: Float[Tensor, "B C H W"]
    steps: list[Tensor] | None = None
    image_size: ImageSize | None = None

    def select(self, index: slice | list[int]) -> InvertedNoise:
        """Return the noise of some of the images, in the order of the index."""
        steps = None if self.steps is None else [n[index] for n in self.steps]
        return InvertedNoise(self.latents[index], steps, self.image_size)

    def towards(self, other: InvertedNoise, weight: float, curve: Curve = slerp) -> InvertedNoise:
        """Return the noise on the way to another's: each tensor along `curve`."""
        steps = None
        if self.steps is not None and other.steps is not None:
            steps = [curve(a, b, weight) for a, b in zip(self.steps, other.steps, strict=True)]
        return InvertedNoise(curve(self.latents, other.latents, weight), steps, self.image_size)


@torch.no_grad()
def invert_images(
    model: LatentDiffusion,
    images: Float[Tensor, "B 3 H W"],
    prompts: Sequence[str],
    config: EditConfig,
    *,
    seeds: Sequence[int] = (),
) -> InvertedNoise:
    """Encode and invert as `augment.editing.edit` does, each image under its own prompt.

    Args:
        images: in -1..1.
        prompts: one per image, that describes it.
        seeds: one per image, of the noise of samplers that add some, and of the adjustment to the prompt.
    """
    full = full_schedule(model, config, size_of(images))
    inversion = invert_latents(model, model.encode(images), model.embed(prompts), seeds, config, full)
    return InvertedNoise(inversion.latents, inversion.noise, size_of(images))


@torch.no_grad()
def generate(
    model: LatentDiffusion, noise: InvertedNoise, prompts: Sequence[str], config: EditConfig, guidance_scale: float
) -> Float[Tensor, "B 3 H W"]:
    """Sample from the given noise, one prompt each, and decode: images in -1..1 on the CPU."""
    schedule = full_schedule(model, config, noise.image_size).last_part(config.strength)
    denoiser = model.denoiser(model.embed(prompts), guidance_scale)
    return model.decode(sample(denoiser, noise.latents, schedule, noise=noise.steps)).cpu()


def interpolate(
    model: LatentDiffusion,
    images_a: Float[Tensor, "B 3 H W"],
    images_b: Float[Tensor, "B 3 H W"],
    source_prompts_a: Sequence[str],
    source_prompts_b: Sequence[str],
    target_prompts: Sequence[str],
    weights: Sequence[float],
    config: EditConfig,
    *,
    seeds: Sequence[int] = (),
    curve: Curve = slerp,
) -> Float[Tensor, "B K 3 H W"]:
    """Return images between pairs of images: K weights for each of B pairs, in -1..1 on the CPU.

    At weights 0 and 1, under the source prompt and the inversion's guidance, these are the two reconstructions. With
    `config.strength` < 1 the noise still holds the layouts of both images, and what is between them shows both.

    Args:
        images_a, images_b: in -1..1.
        source_prompts_a, source_prompts_b: one per image, that describes it; what each is inverted under.
        target_prompts: one per pair; what its images are sampled under.
        weights: 0 for a, 1 for b.
        seeds: one per pair, of the noise of samplers that add some, and of the adjustment to the prompt. Both images
            get the same, so that along the curve only what belongs to the images changes.
        curve: `slerp`, or `lerp` to see what it is good for.

    Raises:
        ValueError: if the numbers of images, prompts and needed seeds differ, or no weight, or one outside 0..1, is
            given.
    """
    counts = [len(x) for x in (images_a, images_b, source_prompts_a, source_prompts_b, target_prompts)]
    if len(set(counts)) > 1:
        raise ValueError(
            "{} images a, {} images b, {} and {} source prompts and {} target prompts were given; each pair needs one "
            "of each".format(*counts)
        )
    if not weights or not all(0.0 <= w <= 1.0 for w in weights):
        raise ValueError(f"weights must be numbers in 0..1, at least one, 0 being the first image; got {list(weights)}")
    a = invert_images(model, images_a, source_prompts_a, config, seeds=seeds)
    b = invert_images(model, images_b, source_prompts_b, config, seeds=seeds)
    # A weight at a time: memory as for one batch of pairs, however many weights there are.
    between = [generate(model, a.towards(b, w, curve), target_prompts, config, config.guidance_scale) for w in weights]
    return torch.stack(between, dim=1)
