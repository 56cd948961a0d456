"""The paper in one file: encode -> invert under the source prompt -> sample under the target prompts -> decode."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from augment.diffusion import Schedule, sample, seeded_noise, slerp, step_noise
from augment.edit_config import EditConfig, StopConfig
from augment.inversion import Inversion, Status, Stop, invert, make_solver
from augment.metrics import psnr
from augment.models.config import ModelError
from augment.models.interface import LatentDiffusion, PromptEmbeds
from augment.seeding import seed_for

__all__ = ["EditConfig", "EditResult", "StopConfig", "edit", "image_to_image", "interpolate", "text_to_image"]

Curve = Callable[[Tensor, Tensor, float], Tensor]


@dataclass(frozen=True)
class EditResult:
    """Edits of a batch of images, on the CPU, with what is known about their inversion.

    Attributes:
        edits: per image a tensor [K, 3, H, W] in -1..1, in the order of its target prompts.
        reconstruction: of each image from its inverted noise under the source prompt, [B, 3, H, W].
        psnr: of the reconstruction against the image, dB.
        vae_psnr: of the autoencoder's own round trip, dB: the bound on `psnr`.
        residual: largest over the steps, RMS.
        iterations: solver iterations over all steps.
        evaluations: network evaluations of the inversion, a backward pass counted as one.
        status: name of the worst `Status` over the steps.
    """

    edits: list[Tensor]
    reconstruction: Float[Tensor, "B 3 H W"]
    psnr: list[float]
    vae_psnr: list[float]
    residual: list[float]
    iterations: list[int]
    evaluations: list[int]
    status: list[str]


def full_schedule(model: LatentDiffusion, config: EditConfig) -> Schedule:
    """All steps of the config's sampler, or of the model's own if it names none.

    Raises:
        ValueError: for a sampler or a number of steps that the model cannot run.
    """
    return model.schedule(config.num_steps, config.sampler or model.default_sampler)


def checked_schedule(model: LatentDiffusion, config: EditConfig, section: str) -> Schedule:
    """`full_schedule`, for settings that a person wrote.

    Args:
        section: of their config, named in the message.

    Raises:
        ModelError: for a sampler or a number of steps that the model cannot run.
    """
    try:
        return full_schedule(model, config)
    except ValueError as error:
        where = f"{section}.sampler {config.sampler!r}, {section}.num_steps {config.num_steps}"
        raise ModelError(f"{where}: {error}") from error


@torch.no_grad()
def edit(
    model: LatentDiffusion,
    images: Float[Tensor, "B 3 H W"],
    source_prompts: Sequence[str],
    target_prompts: Sequence[Sequence[str]],
    config: EditConfig,
    *,
    seeds: Sequence[int] = (),
) -> EditResult:
    """Edit every image once per target prompt: each is inverted once, and all its edits run in one batch.

    With `config.strength` < 1 only the last, least noisy share of the schedule is inverted and redone: the latents keep
    the layout, the prompt decides the rest. Deterministic: a sampler that adds noise adds, in every edit, what the
    inversion was made with.

    Args:
        images: in -1..1.
        source_prompts: B prompts that describe the images.
        target_prompts: for each image any number of prompts.
        seeds: one per image, of the noise of samplers that add some; the others need none.

    Raises:
        ValueError: if the numbers of images, prompts and needed seeds differ.
    """
    if not len(images) == len(source_prompts) == len(target_prompts):
        raise ValueError(
            f"{len(images)} images, {len(source_prompts)} source prompts and {len(target_prompts)} lists of target "
            "prompts were given; each image needs one of each"
        )
    schedule = full_schedule(model, config).last_part(config.strength)
    latents = model.encode(images)
    source = model.embed(source_prompts)
    round_trip = model.decode(latents).cpu()
    inverting = model.denoiser(source, config.inversion_guidance_scale)
    inversion = _inverted(model, latents, source, seeds, config)

    reconstruction = model.decode(sample(inverting, inversion.latents, schedule, noise=inversion.noise)).cpu()
    counts = [len(prompts) for prompts in target_prompts]
    flat = [prompt for prompts in target_prompts for prompt in prompts]
    pixels = torch.zeros(0, *images.shape[1:])
    if flat:
        owners = torch.arange(len(images)).repeat_interleave(torch.tensor(counts)).to(latents.device)
        noise = None if inversion.noise is None else [n[owners] for n in inversion.noise]
        editing = model.denoiser(model.embed(flat), config.guidance_scale)
        pixels = model.decode(sample(editing, inversion.latents[owners], schedule, noise=noise)).cpu()
    return EditResult(
        edits=list(pixels.split(counts)),
        reconstruction=reconstruction,
        psnr=psnr(reconstruction, images.cpu()).tolist(),
        vae_psnr=psnr(round_trip, images.cpu()).tolist(),
        residual=inversion.residual.amax(dim=0).tolist(),
        iterations=inversion.iterations.tolist(),
        evaluations=inversion.evaluations.tolist(),
        status=[Status(s).name.lower() for s in inversion.status.tolist()],
    )


def _inverted(
    model: LatentDiffusion, latents: Tensor, source: PromptEmbeds, seeds: Sequence[int], config: EditConfig
) -> Inversion:
    """Adjusted to the prompt if the config asks for it, then inverted over the config's share of the schedule."""
    if config.adjustment_strength:
        latents = adjust_to_prompt(model, latents, source, seeds, config)
    schedule = full_schedule(model, config).last_part(config.strength)
    return invert(
        model.denoiser(source, config.inversion_guidance_scale),
        latents,
        schedule,
        make_solver(**config.solver),
        Stop(**config.stop.model_dump()),
        noise=step_noise(schedule, latents, seeds),
        match_noise=config.match_noise,
    )


def adjust_to_prompt(
    model: LatentDiffusion,
    latents: Float[Tensor, "B C H W"],
    source: PromptEmbeds,
    seeds: Sequence[int],
    config: EditConfig,
) -> Float[Tensor, "B C H W"]:
    """Prompt-aware adjustment (Samuel et al. 2025): a short image-to-image under the source prompt.

    It moves the latents a little towards what the model would draw for the prompt; they are no longer quite the image.

    Args:
        seeds: one per image, of the noise that is added and removed.
    """
    if len(seeds) != len(latents):
        raise ValueError(f"adjustment_strength needs one seed per image: {len(latents)} images, {len(seeds)} seeds")
    schedule = full_schedule(model, config).last_part(config.adjustment_strength)
    fresh = seeded_noise(tuple(latents.shape[1:]), [seed_for("adjustment", s) for s in seeds]).to(latents.device)
    noisy = schedule.start.signal * latents + schedule.start.noise * fresh
    # Seeds of its own: the noise that the inversion draws must know nothing of the latents.
    noise = step_noise(schedule, latents, [seed_for("adjustment steps", s) for s in seeds])
    return sample(model.denoiser(source), noisy, schedule, noise=noise)


@torch.no_grad()
def text_to_image(
    model: LatentDiffusion, prompts: Sequence[str], seeds: Sequence[int], config: EditConfig
) -> Float[Tensor, "B 3 H W"]:
    """Pictures from noise alone, the whole schedule. The latents' shape is that of an encoded training-size image."""
    blank = torch.zeros(1, 3, model.image_size, model.image_size)
    noise = seeded_noise(tuple(model.encode(blank).shape[1:]), seeds).to(model.device)
    denoiser = model.denoiser(model.embed(prompts), config.guidance_scale)
    schedule = full_schedule(model, config)
    return model.decode(sample(denoiser, noise, schedule, noise=step_noise(schedule, noise, seeds))).cpu()


@torch.no_grad()
def image_to_image(
    model: LatentDiffusion,
    images: Float[Tensor, "B 3 H W"],
    prompts: Sequence[str],
    seeds: Sequence[int],
    config: EditConfig,
) -> Float[Tensor, "B 3 H W"]:
    """The baseline without inversion (SDEdit, Meng et al. 2022): add fresh noise, then denoise under the prompt."""
    schedule = full_schedule(model, config).last_part(config.strength)
    latents = model.encode(images)
    noise = seeded_noise(tuple(latents.shape[1:]), seeds).to(latents.device)
    noisy = schedule.start.signal * latents + schedule.start.noise * noise
    denoiser = model.denoiser(model.embed(prompts), config.guidance_scale)
    return model.decode(sample(denoiser, noisy, schedule, noise=step_noise(schedule, noisy, seeds))).cpu()


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
    inversion = _inverted(model, model.encode(images), model.embed(prompts), seeds, config)
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
