"""Soft object masks from attention: where the network sees the word for the object, while the source is inverted."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from augment.editing.config import ATTENTION_EDGE
from augment.models.attention import AttentionWatch

logger = logging.getLogger(__name__)


def attention_masks(
    watch: AttentionWatch, prompts: Sequence[str], words: Sequence[str], timesteps: Sequence[float]
) -> Float[Tensor, "B 1 h w"]:
    """Return the share of the source to keep, float32: the attention to the word, over 0..1 for each image.

        a = (A - min A) / (max A - min A),   m = min(max((a - 0.3) / 0.2, 0), 1)

    with A the mean attention to the word, see `AttentionWatch`. Prompt-to-Prompt's local blend (Hertz et al. 2023,
    section 3.2) divides by the maximum and cuts at 0.3; here the minimum is taken off, too, and the edge is soft, from
    0.3 to 0.5. Its maps are those of the edit's own steps, of both prompts; here they are the source's, and edits may
    have any prompt.

    An image whose prompt does not hold its word keeps nothing, which is said once for each word.

    Args:
        watch: of the inversion under the prompts.
        prompts, words: one per image.
        timesteps: of the steps that are redone.
    """
    for prompt, word, found in zip(prompts, words, watch.found.tolist(), strict=True):
        if not found:
            _say_once(word, prompt)
    least, all_of_it = ATTENTION_EDGE
    return ((over_unit_range(watch.maps(timesteps)) - least) / (all_of_it - least)).clamp(0.0, 1.0)


def over_unit_range(maps: Float[Tensor, "B 1 h w"]) -> Float[Tensor, "B 1 h w"]:
    """Return each sample's map stretched to 0..1; a map without differences becomes 0."""
    lowest, highest = maps.amin(dim=(2, 3), keepdim=True), maps.amax(dim=(2, 3), keepdim=True)
    span = highest - lowest
    return (maps - lowest) / span.where(span > 0.0, 1.0)


_said: set[str] = set()


def _say_once(word: str, prompt: str) -> None:
    if word not in _said:
        _said.add(word)
        logger.warning(
            "preserve: attention keeps nothing of images whose source prompt does not hold the word for their object: "
            "%r has no %r",
            prompt,
            word,
        )
