"""Fields of a pipeline's configs that the libraries would fill with the defaults of another model. No torch here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_BETAS = ("beta_start", "beta_end", "beta_schedule")
_SHIFTS = ("base_shift", "max_shift")
_LEVELS_OF_LATENTS = ("scaling_factor", "shift_factor")
# Pipeline class -> part -> fields. The default scaling_factor is that of Stable Diffusion 1 and 2, whose older configs
# do not have it, so it is not asked of them.
_NEEDED: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "StableDiffusionPipeline": {"scheduler": _BETAS},
    "LatentConsistencyModelPipeline": {"scheduler": _BETAS},
    "StableDiffusionXLPipeline": {"scheduler": _BETAS, "vae": ("scaling_factor",)},
    "StableDiffusion3Pipeline": {"scheduler": ("shift",), "vae": _LEVELS_OF_LATENTS},
    "FluxPipeline": {"scheduler": ("shift",), "vae": _LEVELS_OF_LATENTS},
}


def absent_fields(pipeline: str, part: str, config: Mapping[str, Any]) -> Iterator[str]:
    """Yield the fields that the config of a part lacks, or has as null, although no default of them is surely right.

    Args:
        pipeline: class of the pipeline.
        part: of the pipeline.
        config: of the part.
    """
    needed = _NEEDED.get(pipeline, {}).get(part, ())
    if needed == _BETAS and config.get("trained_betas"):
        return
    if part == "scheduler" and needed != _BETAS and config.get("use_dynamic_shifting"):
        needed = _SHIFTS  # these take the place of `shift`
    yield from (field for field in needed if config.get(field) is None)
