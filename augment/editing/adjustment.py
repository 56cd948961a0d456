"""Prompt-aware adjustment (Samuel et al. 2025): images moved a little towards their prompts before their inversion."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from augment.diffusion import Schedule, sample, seeded_noise, step_noise
from augment.models.interface import LatentDiffusion, PromptEmbeds
from augment.seeding import seed_for


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
