"""Images between two images: invert both, walk between the two noises, sample. Rare concepts are made this way.

A random point of the latent space is standard normal noise, and its norm is almost constant: chi distributed, with mean
about sqrt(D) and a standard deviation of 0.7 whatever the number of dimensions D (32 +- 0.7 for the embedded model).
The chord between two such points passes far inside that shell (0.71 sqrt(D) halfway between unrelated ones), where the
network has never been trained and answers with washed-out pictures: Samuel et al. 2023, "Norm-guided latent space
exploration for text-to-image generation". `slerp` stays on the shell.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import comb, isqrt

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from augment.data.locate import InputError
from augment.diffusion import sample, step_noise
from augment.editing import EditConfig, adjust_to_prompt, full_schedule
from augment.inversion import Stop, invert, make_solver
from augment.models.interface import LatentDiffusion
from augment.prompts import PromptConfig, plan_source
from augment.seeding import seed_for
from augment.types import Source

Curve = Callable[[Tensor, Tensor, float], Tensor]
ROUNDING = 1e-12  # sines below it are float64's rounding, not an angle


def slerp(a: Float[Tensor, "B ..."], b: Float[Tensor, "B ..."], weight: float) -> Float[Tensor, "B ..."]:
    """From a (weight 0) to b (weight 1), per sample: direction along the great circle (Shoemake 1985), norm linearly.

    Any norm between two likely norms is likely, because the chi distribution has one peak; pulling the norm towards
    that peak as well would no longer lead through a and b.

    The direction of a zero vector is that of the other; of all great circles between opposite directions the one is
    taken that leaves towards the coordinate in which a is smallest.
    """
    first, second = a.flatten(1).double(), b.flatten(1).double()  # so that both ends are a and b to the last bit
    norm_a, norm_b = first.norm(dim=1, keepdim=True), second.norm(dim=1, keepdim=True)
    zero_a, zero_b = norm_a == 0, norm_b == 0
    u = torch.where(zero_a, second, first) / torch.where(zero_a, norm_b, norm_a).clamp_min(1e-300)
    v = torch.where(zero_b, first, second) / torch.where(zero_b, norm_a, norm_b).clamp_min(1e-300)
    cos = (u * v).sum(dim=1, keepdim=True)
    across = v - cos * u
    sin = across.norm(dim=1, keepdim=True)
    opposite = (sin < ROUNDING) & (cos < 0)
    smallest = torch.zeros_like(u).scatter_(1, u.abs().argmin(dim=1, keepdim=True), 1.0)
    across = torch.where(opposite, smallest - (smallest * u).sum(dim=1, keepdim=True) * u, across)
    across = across / across.norm(dim=1, keepdim=True).clamp_min(1e-300)
    angle = weight * torch.atan2(sin, cos)
    direction = angle.cos() * u + angle.sin() * across
    found = (norm_a + weight * (norm_b - norm_a)) * direction
    # In a's memory layout: convolutions round otherwise in another.
    return torch.empty_like(a).copy_(found.view(a.shape))


def lerp(a: Float[Tensor, "B ..."], b: Float[Tensor, "B ..."], weight: float) -> Float[Tensor, "B ..."]:
    """Along the chord, norms as they fall: what `slerp` is compared with."""
    return torch.lerp(a, b, weight)


@dataclass(frozen=True)
class InvertedNoise:
    """The noise that regenerates images: at the start of the schedule, and what each step adds, if any.

    Attributes:
        latents: float32 [B, C, H, W].
        steps: per step in sampling order a tensor like `latents`; None for samplers that add none.
    """

    latents: Float[Tensor, "B C H W"]
    steps: list[Tensor] | None = None

    def select(self, index: slice | list[int]) -> InvertedNoise:
        return InvertedNoise(self.latents[index], None if self.steps is None else [n[index] for n in self.steps])

    def towards(self, other: InvertedNoise, weight: float, curve: Curve = slerp) -> InvertedNoise:
        """The noise on the way to another's: each tensor along `curve`."""
        steps = None
        if self.steps is not None and other.steps is not None:
            steps = [curve(a, b, weight) for a, b in zip(self.steps, other.steps, strict=True)]
        return InvertedNoise(curve(self.latents, other.latents, weight), steps)


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
    schedule = full_schedule(model, config).last_part(config.strength)
    latents, source = model.encode(images), model.embed(prompts)
    if config.adjustment_strength:
        latents = adjust_to_prompt(model, latents, source, seeds, config)
    inversion = invert(
        model.denoiser(source, config.inversion_guidance_scale),
        latents,
        schedule,
        make_solver(**config.solver),
        Stop(**config.stop.model_dump()),
        noise=step_noise(schedule, latents, seeds),
        match_noise=config.match_noise,
    )
    return InvertedNoise(inversion.latents, inversion.noise)


@torch.no_grad()
def generate(
    model: LatentDiffusion, noise: InvertedNoise, prompts: Sequence[str], config: EditConfig, guidance_scale: float
) -> Float[Tensor, "B 3 H W"]:
    """Sample from the given noise, one prompt each, and decode: images in -1..1 on the CPU."""
    schedule = full_schedule(model, config).last_part(config.strength)
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
    """Images between pairs of images: K weights for each of B pairs, in -1..1 on the CPU.

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


# --- pairs of a dataset ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pair:
    """Two images of a class with their own prompts; `target` is what the images between them are sampled under.

    `key` is the class index and the number of the pair within the class.
    """

    key: str
    a: Source
    b: Source
    prompt_a: str
    prompt_b: str
    target: str


def choose_pairs(sources: Sequence[Source], prompts: PromptConfig, per_class: int, seed: int) -> list[Pair]:
    """`per_class` different pairs of every class, at random; the first pair of every class comes first.

    Raises:
        InputError: for a class with fewer pairs than that. PromptError: if no prompt is left for a class.
    """
    by_label: dict[int, list[Source]] = {}
    for source in sources:
        by_label.setdefault(source.label, []).append(source)
    rounds: list[list[Pair]] = [[] for _ in range(per_class)]
    for label, members in sorted(by_label.items()):
        possible = comb(len(members), 2)
        if possible < per_class:
            raise InputError(
                f"class {members[0].class_name!r} has {len(members)} image(s), that is {possible} pair(s), but "
                f"pairs_per_class is {per_class}; add images, lower it, or raise input.limit if that cut them off"
            )
        rng = np.random.default_rng(seed_for("pairs", seed, label))
        for i, number in enumerate(rng.choice(possible, per_class, replace=False).tolist()):
            later = (1 + isqrt(1 + 8 * number)) // 2  # by number: (0, 1), (0, 2), (1, 2), (0, 3), ...
            a, b = members[number - comb(later, 2)], members[later]
            if rng.random() < 0.5:
                a, b = b, a
            plan = plan_source(replace(a, key=f"{a.key} {b.key}"), prompts, 1, seed)  # the pair draws its own prompt
            prompt_b = plan_source(b, prompts, 1, seed).source_prompt
            rounds[i].append(Pair(f"{label:05d}-{i:04d}", a, b, plan.source_prompt, prompt_b, plan.variants[0].prompt))
    return [pair for pairs in rounds for pair in pairs]
