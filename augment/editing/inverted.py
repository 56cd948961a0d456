"""Images and the noise that regenerates them, from which edits under any prompts and milder settings are sampled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from augment.diffusion import Schedule, sample, step_noise
from augment.editing.adjustment import adjust_to_prompt
from augment.editing.config import EditConfig, Setting
from augment.editing.preserve.hints import ObjectHints
from augment.editing.preserve.prompt_to_prompt import attending_like_sources
from augment.editing.preserve.prompts import edit_prompts
from augment.errors import ModelError
from augment.inversion import Inversion, invert, make_solver
from augment.models.attention import AttentionWatch
from augment.models.interface import ImageSize, LatentDiffusion, PromptEmbeds


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
        ModelError: for a sampler or a number of steps that the model cannot run, a strength that takes a step without
            an inverse, a limit of evaluations that no candidate keeps, or words that are to be replaced where nothing
            attends to words alone.
    """
    where = f"{section}.sampler {config.sampler!r}, {section}.num_steps {config.num_steps}"
    try:
        full = full_schedule(model, config, image_size)
        tried = [("candidates.strength", setting.strength) for setting in config.tried if config.candidates]
        own = [("strength", config.strength), ("adjustment_strength", config.adjustment_strength)]
        for name, strength in (*own, *tried):
            where = f"{section}.{name} {strength}"
            if strength:
                full.last_part(strength)
    except ValueError as error:
        raise ModelError(f"{where}: {error}") from error
    first = config.tried[0]
    if config.candidates and (most := config.candidates.max_evaluations):
        steps = len(full.last_part(first.strength))
        strongest = config.strongest_guidance(first.guidance_scale)
        needed = steps * model.denoiser(model.embed([""]), strongest).evaluations
        if needed > most:
            raise ModelError(
                f"{section}.candidates.max_evaluations {most}: the first candidate, {steps} steps with guidance "
                f"{first.guidance_scale:g}, takes {needed} alone; allow as many, or begin with a smaller strength"
            )
    if config.object_guidance_scale is not None and model.is_told_guidance:
        raise ModelError(
            f"{section}.object_guidance_scale {config.object_guidance_scale:g}: {model.model_id!r} is told one "
            "guidance scale for the whole picture; leave it out"
        )
    if config.cross_replace_steps and not model.has_cross_attention:
        raise ModelError(
            f"{section}.cross_replace_steps {config.cross_replace_steps}: {model.model_id!r} attends to text and image "
            f"at once and has no cross-attention to replace; use {section}.self_replace_steps"
        )
    return full


def size_of(images: Float[Tensor, "B 3 H W"]) -> tuple[int, int]:
    """Return height and width in pixels."""
    return images.shape[2], images.shape[3]


@dataclass(frozen=True)
class InvertedImages:
    """Hold images that were inverted together, with what their edits need of it.

    Attributes:
        model: that inverted them.
        image_size: height and width in pixels.
        config: how.
        source: their prompts, embedded.
        inversion: of their latents; with its trajectory where edits read it.
        full: all steps of the sampler.
        hints: what is known about their objects, their prompts among it.
        watch: of the attention while they were inverted, for `preserve: attention`.
    """

    model: LatentDiffusion
    image_size: tuple[int, int]
    config: EditConfig
    source: PromptEmbeds
    inversion: Inversion
    full: Schedule
    hints: ObjectHints
    watch: AttentionWatch | None

    def reconstruction(self) -> Float[Tensor, "B 3 H W"]:
        """Return each image sampled from its inverted noise under the source prompt, in -1..1 on the CPU."""
        schedule = self.full.last_part(self.config.strength)
        denoiser = self.model.denoiser(self.source, self.config.inversion_guidance_scale)
        latents = sample(denoiser, self.inversion.latents, schedule, noise=self.inversion.noise)
        return self.model.decode(latents).cpu()

    def evaluations(self, setting: Setting) -> int:
        """Return how often the network is evaluated to sample one edit with a setting, its source not counted."""
        steps = len(self.full.last_part(setting.strength))
        strongest = self.config.strongest_guidance(setting.guidance_scale)
        return steps * self.model.denoiser(self.source, strongest).evaluations

    def edits(self, target_prompts: Sequence[Sequence[str]], config: EditConfig) -> list[Tensor]:
        """Return per image a tensor [K, 3, H, W] in -1..1 on the CPU, its edits in the order of its target prompts.

        Args:
            target_prompts: for each image any number of prompts.
            config: that the images were inverted with, or the same with a smaller strength or another guidance scale.
        """
        parts = [self._together(some, config) for some in in_parts(target_prompts, self.model.edits_at_once)]
        return [torch.cat(of_one) for of_one in zip(*parts, strict=True)]

    def _together(self, target_prompts: Sequence[Sequence[str]], config: EditConfig) -> list[Tensor]:
        """Return `edits`, all sampled together."""
        counts = [len(prompts) for prompts in target_prompts]
        if not any(counts):
            return [torch.zeros(0, 3, *self.image_size) for _ in counts]
        schedule = self.full.last_part(config.strength)
        inversion = self.inversion
        if inversion.trajectory is not None:
            inversion = last_steps(inversion, len(schedule), self.model.dtype)
        prompts = edit_prompts(self.model, self.hints.source_prompts, self.source, target_prompts)
        blend = self.hints.blend(self.model, prompts, inversion, self.watch, self.full, config.preserve_until)
        masks = None if blend is None else blend.mask
        noise = None if inversion.noise is None else [n[prompts.owners] for n in inversion.noise]
        with attending_like_sources(self.model, prompts, inversion, schedule, config, masks) as denoiser:
            latents = sample(denoiser, inversion.latents[prompts.owners], schedule, noise=noise, after_step=blend)
        return list(self.model.decode(latents).cpu().split(counts))


def invert_batch(
    model: LatentDiffusion,
    images: Float[Tensor, "B 3 H W"],
    latents: Float[Tensor, "B C h w"],
    config: EditConfig,
    hints: ObjectHints,
    *,
    seeds: Sequence[int] = (),
    trajectory_dtype: torch.dtype | None = None,
) -> InvertedImages:
    """Return images inverted under the prompts of the hints.

    Args:
        images: in -1..1.
        latents: of the images.
        seeds: one per image, of the noise of samplers that add some; the others need none.
        trajectory_dtype: in which to keep the latents between the steps; None keeps them only where edits read them, in
            the network's.
    """
    full = full_schedule(model, config, size_of(images))
    source = model.embed(hints.source_prompts)
    kept = model.dtype if trajectory_dtype is None and config.reads_trajectory else trajectory_dtype
    with hints.watching(model) as watch:
        inversion = invert_latents(model, latents, source, seeds, config, full, watch, kept)
    return InvertedImages(model, size_of(images), config, source, inversion, full, hints, watch)


def in_parts(prompts: Sequence[Sequence[str]], most: int | None) -> list[list[list[str]]]:
    """Return the prompts of a batch in parts of at most so many, in their order; each part has a list for each image.

    Args:
        prompts: for each image any number.
        most: prompts of a part, 1 or more; None: all.
    """
    places = [(i, prompt) for i, own in enumerate(prompts) for prompt in own]
    size = most or max(1, len(places))
    parts = []
    for start in range(0, max(1, len(places)), size):
        part: list[list[str]] = [[] for _ in prompts]
        for i, prompt in places[start : start + size]:
            part[i].append(prompt)
        parts.append(part)
    return parts


def last_steps(inversion: Inversion, steps: int, dtype: torch.dtype = torch.float32) -> Inversion:
    """Return the inversion to a strength that takes `steps` steps, which is a part of one to a larger strength.

    Inversion begins at the image, and a step's noise depends on its timestep only. So its first k steps are the whole
    inversion to a strength that takes k steps. The counts and residuals stay those of all steps.

    Args:
        inversion: with its trajectory, in float32.
        steps: 1 to those that were inverted.
        dtype: of the trajectory that is returned.
    """
    assert inversion.trajectory is not None
    passed = [inversion.latents, *inversion.trajectory]  # in sampling order, the last being the given latents
    return replace(
        inversion,
        latents=passed[-steps - 1],
        noise=None if inversion.noise is None else inversion.noise[-steps:],
        trajectory=[z.to(dtype) for z in inversion.trajectory[-steps:]],
        num_steps=steps,
    )


def check_counts(images: Sequence[object] | Tensor, sources: Sequence[str], targets: Sequence[Sequence[str]]) -> None:
    """Raise ValueError unless there are one source prompt and one list of target prompts for each image."""
    if not len(images) == len(sources) == len(targets):
        raise ValueError(
            f"{len(images)} images, {len(sources)} source prompts and {len(targets)} lists of target prompts were "
            "given; each image needs one of each"
        )


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

    The evaluations, calls and rows of the network that are returned include the adjustment's.

    Args:
        source: prompts that describe the images, embedded.
        seeds: one per image, of the noise of samplers that add some, and of the adjustment.
        full: all steps of the sampler.
        watch: gathers attention while inverting.
        trajectory_dtype: in which to keep the latents between the steps; None keeps none.
    """
    spent = 0  # evaluations of the adjustment, for each image
    if config.adjustment_strength:
        adjustment = full.last_part(config.adjustment_strength)
        latents = adjust_to_prompt(model, latents, source, seeds, adjustment)
        spent = len(adjustment) * model.denoiser(source).evaluations
    schedule = full.last_part(config.strength)
    inversion = invert(
        model.denoiser(source, config.inversion_guidance_scale, watch),
        latents,
        schedule,
        make_solver(**config.solver.model_dump()),
        config.stop,
        warm_start=config.warm_start,
        noise=step_noise(schedule, latents, seeds),
        match_noise=config.match_noise,
        trajectory_dtype=trajectory_dtype,
    )
    return replace(
        inversion,
        forward=inversion.forward + spent,
        calls=inversion.calls + spent,
        rows=inversion.rows + spent * len(latents),
    )
