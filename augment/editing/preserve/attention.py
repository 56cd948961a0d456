"""Soft object masks from attention: where the network sees the word for the object, while the source is inverted."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from augment.editing.config import ATTENTION_EDGE
from augment.models.attention import AttentionWatch

logger = logging.getLogger(__name__)


def attention_masks(
    watch: AttentionWatch, prompts: Sequence[str], words: Sequence[str], timesteps: Sequence[float]
) -> Float[Tensor, "B 1 h w"]:
    """Return the share of the source to keep, float32: the attention to the word, above what the picture's half has.

        a = (A - median A) / (max A - median A),   m = min(max((a - 0.2) / 0.2, 0), 1)

    with A the mean attention to the word, see `AttentionWatch`. Prompt-to-Prompt's local blend (Hertz et al. 2023,
    section 3.2) divides by the maximum and cuts at 0.3; here the level of the scene is taken off first, which is high
    where a prompt is a list of words, and the edge is soft, from 0.2 to 0.4. Of an object that covers more than half of
    the picture that half is kept which attends most. The paper's maps are those of the edit's own steps, of both
    prompts; here they are the source's, and edits may have any prompt.

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
    return ((over_median(watch.maps(timesteps)) - least) / (all_of_it - least)).clamp(0.0, 1.0)


def over_median(maps: Float[Tensor, "B 1 h w"]) -> Float[Tensor, "B 1 h w"]:
    """Return each sample's map with its median at 0 and its maximum at 1; a map without a peak becomes 0."""
    median = maps.flatten(2).median(dim=2).values[..., None, None]
    peak = maps.amax(dim=(2, 3), keepdim=True) - median
    return (maps - median) / peak.where(peak > 0.0, torch.inf)


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
