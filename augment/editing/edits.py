"""The paper in one file: encode -> invert under the source prompt -> sample under the target prompts -> decode."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from augment.diffusion import sample, seeded_noise, step_noise
from augment.editing.candidates import Judge, choose_edits, deepest
from augment.editing.config import EditConfig, Setting
from augment.editing.inverted import check_counts, full_schedule, invert_batch, size_of
from augment.editing.preserve.hints import NOTHING_KNOWN, ObjectHints, Objects
from augment.inversion import Status
from augment.models.interface import LatentDiffusion
from augment.scoring import psnr


@dataclass(frozen=True)
class EditResult:
    """Edits of a batch of images, on the CPU, with what is known about their inversion.

    Attributes:
        edits: per image a tensor [K, 3, H, W] in -1..1, in the order of its target prompts.
        settings: of each edit, the strength and the guidance scale that it was made with.
        reconstruction: each image sampled from its inverted noise under the source prompt, [B, 3, H, W].
        round_trip: each image encoded and decoded only, [B, 3, H, W].
        psnr: PSNR of the reconstruction against the image, dB.
        vae_psnr: PSNR of the autoencoder's own round trip, dB: the bound on `psnr`.
        residual: largest over the steps, RMS.
        iterations: solver iterations over all steps.
        evaluations: of the network for the inversion and the adjustment before it, a backward pass counted as one;
            the reconstruction and the edits are not among them.
        status: name of the worst `Status` over the steps.
    """

    edits: list[Tensor]
    settings: list[list[Setting]]
    reconstruction: Float[Tensor, "B 3 H W"]
    round_trip: Float[Tensor, "B 3 H W"]
    psnr: list[float]
    vae_psnr: list[float]
    residual: list[float]
    iterations: list[int]
    evaluations: list[int]
    status: list[str]


@torch.no_grad()
def edit(
    model: LatentDiffusion,
    images: Float[Tensor, "B 3 H W"],
    source_prompts: Sequence[str],
    target_prompts: Sequence[Sequence[str]],
    config: EditConfig,
    *,
    seeds: Sequence[int] = (),
    objects: Objects = NOTHING_KNOWN,
    judge: Judge | None = None,
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
        objects: where they are in the images, as far as `preserve` asks for it.
        judge: scores edits, for `config.candidates` to choose by.

    Raises:
        ValueError: if the numbers of images, prompts and needed seeds, masks and words differ, or there is no judge for
            candidates.
    """
    check_counts(images, source_prompts, target_prompts)
    latents = model.encode(images)
    round_trip = model.decode(latents).cpu()
    hints = ObjectHints(config.preserve, source_prompts, objects)
    several = torch.float32 if config.candidates else None  # a candidate may start anywhere on the trajectory
    inverted = invert_batch(model, images, latents, deepest(config), hints, seeds=seeds, trajectory_dtype=several)
    chosen = choose_edits(inverted, target_prompts, config, judge)
    inversion, reconstruction = inverted.inversion, inverted.reconstruction()
    return EditResult(
        edits=chosen.edits,
        settings=chosen.settings,
        reconstruction=reconstruction,
        round_trip=round_trip,
        psnr=psnr(reconstruction, images.cpu()).tolist(),
        vae_psnr=psnr(round_trip, images.cpu()).tolist(),
        residual=inversion.residual.amax(dim=0).tolist(),
        iterations=inversion.iterations.tolist(),
        evaluations=inversion.evaluations.tolist(),
        status=[Status(s).name.lower() for s in inversion.status.tolist()],
    )


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
