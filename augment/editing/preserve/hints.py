"""What is known about the objects in a batch of images, and the blending that it leads to."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from augment.diffusion import Schedule
from augment.editing.config import Preserve
from augment.editing.preserve.attention import attention_masks
from augment.editing.preserve.blend import Blend, share_of_steps
from augment.editing.preserve.difference import difference_masks
from augment.editing.preserve.mask import on_latent_grid
from augment.editing.preserve.prompts import Prompts
from augment.inversion import Inversion
from augment.models.attention import AttentionWatch
from augment.models.interface import LatentDiffusion


@dataclass(frozen=True)
class Objects:
    """Say where the objects of images are, for `EditConfig.preserve`.

    Attributes:
        words: the word for each image's object in its source prompt; `attention` looks for it.
        masks: share of each pixel to keep, in 0..1; `mask` needs them.
    """

    words: Sequence[str] = ()
    masks: Float[Tensor, "B 1 H W"] | None = None


NOTHING_KNOWN = Objects()


@dataclass(frozen=True)
class ObjectHints:
    """Hold what the caller of an edit knows about its images, as far as the mode reads it.

    Attributes:
        preserve: the mode.
        source_prompts: one per image.
        objects: where their objects are.

    Raises:
        ValueError: if what the mode needs is missing, or there is not one for each image, or a mask leaves 0..1.
    """

    preserve: Preserve
    source_prompts: Sequence[str]
    objects: Objects = NOTHING_KNOWN

    def __post_init__(self) -> None:
        words, masks = self.objects.words, self.objects.masks
        given = {"mask": 0 if masks is None else len(masks), "attention": len(words)}
        count = len(self.source_prompts)
        if self.preserve in given and given[self.preserve] != count:
            needed = "mask" if self.preserve == "mask" else "word for the object"
            raise ValueError(
                f"preserve: {self.preserve} needs one {needed} per image: {count} images, "
                f"{given[self.preserve]} were given"
            )
        if self.preserve == "mask" and masks is not None and count:
            least, most = (float(bound) for bound in masks.aminmax())
            if not (least >= 0.0 and most <= 1.0):
                raise ValueError(f"preserve: mask takes shares in 0..1, got {least:g} to {most:g}")

    def watching(self, model: LatentDiffusion) -> AbstractContextManager[AttentionWatch | None]:
        """Return what watches the inversion in its block, for `attention`; nothing does for the other modes."""
        if self.preserve != "attention":
            return nullcontext()
        return model.watching(self.source_prompts, self.objects.words)

    def blend(
        self,
        model: LatentDiffusion,
        prompts: Prompts,
        inversion: Inversion,
        watch: AttentionWatch | None,
        full: Schedule,
        until: float,
    ) -> Blend | None:
        """Return what puts the source back into its edits after each of their first steps; None for `none`.

        Args:
            prompts: of the edits.
            inversion: of the images, with its trajectory.
            watch: that watched it.
            full: all steps of the sampler.
            until: share of the walked steps.
        """
        if self.preserve == "none":
            return None
        assert inversion.trajectory is not None
        owners = prompts.owners
        if self.preserve == "difference":
            source, target = model.denoiser(prompts.source), model.denoiser(prompts.target)
            masks = difference_masks(source, target, inversion, owners, full)
        elif self.preserve == "attention":
            assert watch is not None
            steps = full.steps[-inversion.num_steps :]
            masks = attention_masks(watch, self.source_prompts, self.objects.words, [s.timestep for s in steps])[owners]
        else:
            assert self.objects.masks is not None
            height, width = inversion.latents.shape[2:]
            masks = on_latent_grid(self.objects.masks.to(owners.device), height, width)[owners]
        return Blend(masks, inversion.trajectory, owners, share_of_steps(inversion.num_steps, until))
