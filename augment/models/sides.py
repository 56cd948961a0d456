"""Which sizes of images a model can be given, from its configs alone: no network, no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from augment.inputs.fit import Fit
from augment.models.config import ModelConfig
from augment.models.packaged import packaged_model
from augment.models.text_readers import SmallFiles

_FLUX_PATCH = 2  # its config does not say so
_SD3_POSITIONS = 96  # diffusers' default


@dataclass(frozen=True)
class SideLimits:
    """The sides, in pixels, of the images that a model takes.

    Attributes:
        multiple: they are multiples of it.
        largest: they are no longer; None for any length.
    """

    multiple: int
    largest: int | None = None

    def problem(self, fit: Fit, model: str) -> str:
        """Return why a model cannot take what images are fitted to, and what to do; "" if it can."""
        size, multiple = fit.image_size, self.multiple
        sides = {side for canvas in fit.canvases for side in canvas}
        if odd := [side for side in sides if side % multiple]:
            if fit.name == "bucket":
                return (
                    f"input.image_size {size} gives buckets with sides such as {min(odd)}, which are no multiples of "
                    f"{multiple}, as those of images for {model!r} must be; take input.image_size {8 * multiple} or "
                    "more, or another input.fit"
                )
            below = size - size % multiple
            return (
                f"input.image_size {size} is not a multiple of {multiple}, as images for {model!r} must be; "
                f"take {below or multiple} or {below + multiple}"
            )
        if self.largest is not None and max(sides) > self.largest:
            what = f"gives buckets of up to {max(sides)} pixels" if fit.name == "bucket" else "is too large"
            most = self.largest // 2 if fit.name == "bucket" else self.largest
            remedy = f"take {most} or less" + (", or another input.fit" if fit.name == "bucket" else "")
            return f"input.image_size {size} {what}, and {model!r} takes {self.largest} pixels a side at most; {remedy}"
        return ""


def side_limits(config: ModelConfig) -> SideLimits | None:
    """Return a model's limits; None if its configs are not there to be asked, or do not say.

    Args:
        config: pinned to a revision.

    Raises:
        ModelError: if a config is not readable.
    """
    packaged = packaged_model(config.name)
    files = SmallFiles(str(packaged.folder) if packaged is not None else config.name, config.revision)
    what = f"model {config.name!r}"
    vae = files.json("vae/config.json", what) or {}
    levels = vae.get("block_out_channels")
    if not isinstance(levels, list):
        return None
    latent_factor: int = 2 ** (len(levels) - 1)
    transformer: dict[str, Any] | None = files.json("transformer/config.json", what)
    if transformer is None:
        return SideLimits(latent_factor)
    if transformer.get("_class_name") != "SD3Transformer2DModel":
        return SideLimits(latent_factor * _FLUX_PATCH)
    patch, positions = transformer.get("patch_size", 2), transformer.get("pos_embed_max_size", _SD3_POSITIONS)
    if not (isinstance(patch, int) and isinstance(positions, int)):
        return None
    return SideLimits(latent_factor * patch, latent_factor * patch * positions)
