"""DiffEdit's mask: where the network predicts the same under source and target prompt, the source is kept."""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor

from augment.diffusion import Denoiser, Schedule
from augment.diffusion.sampler import batch_timesteps
from augment.inversion import Inversion

NOISE_STRENGTH = 0.5  # Couairon et al. 2023, section 3.2, step 1: 50 % of the schedule
CLAMP = 3.0  # times the mean; the paper removes "extreme values" without a number, this is diffusers' default
THRESHOLD = 0.5  # of the paper, on the clamped difference over 0..1


def difference_masks(
    source: Denoiser,
    target: Denoiser,
    inversion: Inversion,
    owners: Int[Tensor, " N"],
    full: Schedule,
) -> Float[Tensor, "N 1 h w"]:
    """Return 1 where an edit keeps its source, by the predictions at DiffEdit's noise level: half of the schedule.

    The paper averages the difference over 10 draws of noise added to the source. Here the noise is the inversion's, and
    there is one: the latents are the source's on its trajectory. Where less of the schedule is walked than half, they
    are those that sampling starts from.

    This costs one evaluation of the network for each image and one for each edit. Guidance away from the same empty
    prompt would scale a difference everywhere alike, so there is none.

    Args:
        source: one prompt per image, without guidance.
        target: one prompt per edit, without guidance.
        inversion: of the images, with its trajectory.
        owners: the image of each edit.
        full: all steps of the sampler, of which inversion walked the last `num_steps`.
    """
    assert inversion.trajectory is not None
    first = inversion.num_steps - min(len(full.last_part(NOISE_STRENGTH)), inversion.num_steps)
    z = (inversion.latents if first == 0 else inversion.trajectory[first - 1]).float()
    timestep = full.steps[len(full) - inversion.num_steps + first].timestep
    of_source = source(z, batch_timesteps(timestep, z))
    of_target = target(z[owners], batch_timesteps(timestep, z[owners]))
    return unchanged(of_target, of_source[owners])


def unchanged(of_target: Float[Tensor, "N C h w"], of_source: Float[Tensor, "N C h w"]) -> Float[Tensor, "N 1 h w"]:
    """Return 1 where two predictions differ little for their sample, 0 elsewhere: 1 minus DiffEdit's mask.

        d = mean over channels of |eps_target - eps_source|,   M = [min(d / (3 mean(d)), 1) > 0.5],   kept = 1 - M

    DiffEdit's mask says where to edit. Two predictions that are the same keep everything.

    Args:
        of_target, of_source: noise or velocity at the same latents, under the two prompts.
    """
    # In float64: the sums are compared with a threshold, and must not round by the number of samples.
    d = (of_target - of_source).abs().double().mean(dim=1, keepdim=True)
    largest_kept = THRESHOLD * CLAMP * d.mean(dim=(2, 3), keepdim=True)  # without dividing by a mean of 0
    return (~(d > largest_kept)).float()
