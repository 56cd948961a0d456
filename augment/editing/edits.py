"""The paper in one file: encode -> invert under the source prompt -> sample under the target prompts -> decode."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from augment.diffusion import Schedule, sample, seeded_noise, step_noise
from augment.editing.config import EditConfig
from augment.editing.preserve.blend import Blend
from augment.editing.preserve.hints import ObjectHints, Prompts
from augment.errors import ModelError
from augment.inversion import Inversion, Status, invert, make_solver
from augment.models.attention import AttentionWatch
from augment.models.interface import ImageSize, LatentDiffusion, PromptEmbeds
from augment.scoring import psnr
from augment.seeding import seed_for


@dataclass(frozen=True)
class EditResult:
    """Edits of a batch of images, on the CPU, with what is known about their inversion.

    Attributes:
        edits: per image a tensor [K, 3, H, W] in -1..1, in the order of its target prompts.
        reconstruction: each image sampled from its inverted noise under the source prompt, [B, 3, H, W].
        round_trip: each image encoded and decoded only, [B, 3, H, W].
        psnr: PSNR of the reconstruction against the image, dB.
        vae_psnr: PSNR of the autoencoder's own round trip, dB: the bound on `psnr`.
        residual: largest over the steps, RMS.
        iterations: solver iterations over all steps.
        evaluations: network evaluations of the inversion, a backward pass counted as one.
        status: name of the worst `Status` over the steps.
    """

    edits: list[Tensor]
    reconstruction: Float[Tensor, "B 3 H W"]
    round_trip: Float[Tensor, "B 3 H W"]
    psnr: list[float]
    vae_psnr: list[float]
    residual: list[float]
    iterations: list[int]
    evaluations: list[int]
    status: list[str]


def full_schedule(model: LatentDiffusion, config: EditConfig, image_size: ImageSize | None = None) -> Schedule:
    """Return all steps of the config's sampler, or of the model's own if it names none.

    Args:
        image_size: of the images that are made, in pixels; None for the model's own.

    Raises:
        ValueError: for a sampler or a number of steps that the model cannot run.
    """
    return model.schedule(config.num_steps, config.sampler or model.default_sampler, image_size=image_size)


def checked_schedule(
    model: LatentDiffusion, config: EditConfig, section: str, image_size: ImageSize | None = None
) -> Schedule:
    """Return `full_schedule` for settings that a person wrote, whose share of it can be walked.

    Args:
        section: name of their config's section, for the message.
        image_size: of the images that are made, in pixels; None for the model's own.

    Raises:
        ModelError: for a sampler or a number of steps that the model cannot run, or a strength that takes a step
            without an inverse.
    """
    where = f"{section}.sampler {config.sampler!r}, {section}.num_steps {config.num_steps}"
    try:
        full = full_schedule(model, config, image_size)
        for name, strength in (("strength", config.strength), ("adjustment_strength", config.adjustment_strength)):
            where = f"{section}.{name} {strength}"
            if strength:
                full.last_part(strength)
    except ValueError as error:
        raise ModelError(f"{where}: {error}") from error
    return full


def size_of(images: Float[Tensor, "B 3 H W"]) -> tuple[int, int]:
    """Return height and width in pixels."""
    return images.shape[2], images.shape[3]


@torch.no_grad()
def edit(
    model: LatentDiffusion,
    images: Float[Tensor, "B 3 H W"],
    source_prompts: Sequence[str],
    target_prompts: Sequence[Sequence[str]],
    config: EditConfig,
    *,
    seeds: Sequence[int] = (),
    masks: Float[Tensor, "B 1 H W"] | None = None,
    words: Sequence[str] = (),
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
        masks: share of each pixel to keep, in 0..1, which `preserve: mask` reads.
        words: the word for each image's object in its source prompt, which `preserve: attention` looks for.

    Raises:
        ValueError: if the numbers of images, prompts and needed seeds, masks and words differ.
    """
    _check_counts(len(images), len(source_prompts), len(target_prompts))
    hints = ObjectHints(config.preserve, source_prompts, masks, words)
    full = full_schedule(model, config, size_of(images))
    schedule = full.last_part(config.strength)
    latents = model.encode(images)
    source = model.embed(source_prompts)
    round_trip = model.decode(latents).cpu()
    with hints.watching(model) as watch:
        inversion = invert_latents(model, latents, source, seeds, config, full, watch)

    inverting = model.denoiser(source, config.inversion_guidance_scale)
    reconstruction = model.decode(sample(inverting, inversion.latents, schedule, noise=inversion.noise)).cpu()
    counts = [len(prompts) for prompts in target_prompts]
    flat = [prompt for prompts in target_prompts for prompt in prompts]
    pixels = torch.zeros(0, *images.shape[1:])
    if flat:
        owners = torch.arange(len(images)).repeat_interleave(torch.tensor(counts)).to(latents.device)
        prompts = Prompts(source, model.embed(flat), owners)
        blend = hints.blend(model, prompts, inversion, watch, full, config.preserve_until)
        pixels = _sample_edits(model, prompts, inversion, schedule, config.guidance_scale, blend)
    return EditResult(
        edits=list(pixels.split(counts)),
        reconstruction=reconstruction,
        round_trip=round_trip,
        psnr=psnr(reconstruction, images.cpu()).tolist(),
        vae_psnr=psnr(round_trip, images.cpu()).tolist(),
        residual=inversion.residual.amax(dim=0).tolist(),
        iterations=inversion.iterations.tolist(),
        evaluations=inversion.evaluations.tolist(),
        status=[Status(s).name.lower() for s in inversion.status.tolist()],
    )


def _check_counts(images: int, source_prompts: int, target_prompts: int) -> None:
    if not images == source_prompts == target_prompts:
        raise ValueError(
            f"{images} images, {source_prompts} source prompts and {target_prompts} lists of target prompts were "
            "given; each image needs one of each"
        )


def _sample_edits(
    model: LatentDiffusion,
    prompts: Prompts,
    inversion: Inversion,
    schedule: Schedule,
    guidance_scale: float,
    blend: Blend | None,
) -> Float[Tensor, "N 3 H W"]:
    """Return the pictures that are sampled from inverted noise under the target prompts, on the CPU."""
    owners = prompts.owners
    noise = None if inversion.noise is None else [n[owners] for n in inversion.noise]
    denoiser = model.denoiser(prompts.target, guidance_scale)
    edited = sample(denoiser, inversion.latents[owners], schedule, noise=noise, after_step=blend)
    return model.decode(edited).cpu()


def invert_latents(
    model: LatentDiffusion,
    latents: Float[Tensor, "B C H W"],
    source: PromptEmbeds,
    seeds: Sequence[int],
    config: EditConfig,
    full: Schedule,
    watch: AttentionWatch | None = None,
    trajectory_dtype: torch.dtype | None = None,
) -> Inversion:
    """Invert latents over the config's share of the schedule, adjusted to the prompt first if the config asks for it.

    Args:
        source: prompts that describe the images, embedded.
        seeds: one per image, of the noise of samplers that add some, and of the adjustment.
        full: all steps of the sampler.
        watch: gathers attention while inverting.
        trajectory_dtype: in which to keep the latents between the steps where the config keeps none.
    """
    if config.adjustment_strength:
        latents = adjust_to_prompt(model, latents, source, seeds, full.last_part(config.adjustment_strength))
    schedule = full.last_part(config.strength)
    return invert(
        model.denoiser(source, config.inversion_guidance_scale, watch),
        latents,
        schedule,
        make_solver(**config.solver.model_dump()),
        config.stop,
        warm_start=config.warm_start,
        noise=step_noise(schedule, latents, seeds),
        match_noise=config.match_noise,
        trajectory_dtype=trajectory_dtype if config.preserve == "none" else model.dtype,
    )


def adjust_to_prompt(
    model: LatentDiffusion,
    latents: Float[Tensor, "B C H W"],
    source: PromptEmbeds,
    seeds: Sequence[int],
    schedule: Schedule,
) -> Float[Tensor, "B C H W"]:
    """Return latents after a short image-to-image under the source prompt.

    This is prompt-aware adjustment (Samuel et al. 2025): the latents move a little towards what the model would draw
    for the prompt; they are no longer quite the image.

    Args:
        seeds: one per image, of the noise that is added and removed.
        schedule: the steps that are redone.

    Raises:
        ValueError: if there is not one seed for each image.
    """
    if len(seeds) != len(latents):
        raise ValueError(f"adjustment_strength needs one seed per image: {len(latents)} images, {len(seeds)} seeds")
    fresh = seeded_noise(tuple(latents.shape[1:]), [seed_for("adjustment", s) for s in seeds]).to(latents.device)
    noisy = schedule.start.signal * latents + schedule.start.noise * fresh
    # Seeds of its own: the noise that the inversion draws must know nothing of the latents.
    noise = step_noise(schedule, latents, [seed_for("adjustment steps", s) for s in seeds])
    return sample(model.denoiser(source), noisy, schedule, noise=noise)


@torch.no_grad()
def text_to_image(
    model: LatentDiffusion, prompts: Sequence[str], seeds: Sequence[int], config: EditConfig
) -> Float[Tensor, "B 3 H W"]:
    """Return pictures made from noise alone, of the size the model was trained on, in -1..1 on the CPU.

    Args:
        prompts: one per picture.
        seeds: one per picture, of all its noise.
    """
    noise = seeded_noise(model.latent_shape(), seeds).to(model.device)
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
    """Return the edits of the baseline without inversion (SDEdit, Meng et al. 2022), in -1..1 on the CPU.

    Fresh noise is added, and removed under the prompt.

    Args:
        images: in -1..1.
        prompts, seeds: one per image.
    """
    schedule = full_schedule(model, config, size_of(images)).last_part(config.strength)
    latents = model.encode(images)
    noise = seeded_noise(tuple(latents.shape[1:]), seeds).to(latents.device)
    noisy = schedule.start.signal * latents + schedule.start.noise * noise
    denoiser = model.denoiser(model.embed(prompts), config.guidance_scale)
    return model.decode(sample(denoiser, noisy, schedule, noise=step_noise(schedule, noisy, seeds))).cpu()


@torch.no_grad()
def round_trip_psnr(
    model: LatentDiffusion, images: Float[Tensor, "B 3 H W"], batch_size: int = 64
) -> Float[Tensor, " B"]:
    """Return the PSNR of the autoencoder alone, per image in dB: the bound that no inversion can exceed."""
    return torch.cat([psnr(model.decode(model.encode(x)).cpu(), x.cpu()) for x in images.split(batch_size)])
