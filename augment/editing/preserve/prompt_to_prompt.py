"""Prompt-to-Prompt on the trajectory of the inversion: for the noisiest steps edits attend as their sources do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from jaxtyping import Float
from torch import Tensor

from augment.diffusion import Denoiser, Schedule
from augment.diffusion.sampler import batch_timesteps
from augment.editing.config import EditConfig
from augment.editing.preserve.blend import share_of_steps
from augment.editing.preserve.blended_guidance import guidance_scales
from augment.editing.preserve.prompts import Prompts
from augment.inversion import Inversion
from augment.models.attention import as_called
from augment.models.interface import LatentDiffusion


@contextmanager
def attending_like_sources(
    model: LatentDiffusion,
    prompts: Prompts,
    inversion: Inversion,
    schedule: Schedule,
    config: EditConfig,
    masks: Float[Tensor, "N 1 h w"] | None,
) -> Iterator[Denoiser]:
    """Return the denoiser of the edits, whose first steps take the attention maps of their sources (`replacement`).

    In the paper the source is generated beside its edit. Here it is at each step the latent that its inversion found
    there, so it is predicted once for each step that is replaced, and errors do not add up. As in the paper's code the
    rows without a prompt keep their own maps, and steps are rounded down.

    Args:
        prompts: of the edits.
        inversion: of the images, with its trajectory.
        schedule: the steps that were inverted.
        config: says for which share of them.
        masks: of the objects, for each edit the share to keep; None: all attend to one another as in the source.
    """
    guidance = guidance_scales(config, masks)
    of_self, of_cross = (
        share_of_steps(len(schedule), share) for share in (config.self_replace_steps, config.cross_replace_steps)
    )
    if not of_self and not of_cross:
        yield model.denoiser(prompts.target, guidance)
        return
    assert inversion.trajectory is not None
    starts: Sequence[Tensor] = (inversion.latents, *inversion.trajectory)
    places = {as_called(step.timestep): i for i, step in enumerate(schedule.steps)}
    texts = (prompts.source_texts, prompts.target_texts)
    with model.replacing(*texts, prompts.owners, words=of_cross > 0, masks=masks) as replacement:
        of_sources = model.denoiser(prompts.source, config.inversion_guidance_scale, replacement.of_sources)
        of_edits = model.denoiser(prompts.target, guidance, replacement.of_edits)

        def predict(z: Tensor, t: Tensor, *conditions: Tensor) -> Tensor:
            step = places[float(t[0])]
            if step >= max(of_self, of_cross):
                return of_edits.predict(z, t, *conditions)
            source = starts[step].float()
            with replacement.replacing(self_attention=step < of_self, cross_attention=step < of_cross):
                of_sources(source, batch_timesteps(schedule.steps[step].timestep, source))
                return of_edits.predict(z, t, *conditions)

        yield Denoiser(predict, of_edits.conditions, of_edits.evaluations)
