"""Blended guidance: another guidance scale inside the object than outside of it."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from augment.editing.config import EditConfig


def guidance_scales(config: EditConfig, masks: Float[Tensor, "N 1 h w"] | None) -> float | Float[Tensor, "N 1 h w"]:
    """Return the guidance scale of edits, for each position where it has two.

        w = m w_object + (1 - m) w

    This is the blended guidance of AIDI (Pan et al. 2023, section 3.3): a large scale where the picture is to change, a
    small one where it is to stay. Theirs takes its mask from the attention to the words that are edited; here m is the
    mask of what preserves, so the object's.

    Args:
        config: with both scales.
        masks: of the objects, for each edit the share to keep; None where nothing preserves.
    """
    inside, outside = config.object_guidance_scale, config.guidance_scale
    if masks is None or inside is None or inside == outside:
        return outside
    return outside + masks * (inside - outside)
