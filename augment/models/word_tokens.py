"""Which tokens of a prompt stand for a word."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor


def word_tokens(tokenizer: Any, prompts: Sequence[str], words: Sequence[str], length: int) -> Float[Tensor, "B L"]:
    """Return 1 for each token that holds a part of the prompt's word, wherever the word stands, 0 for the others.

    Whole words are looked for, in capitals or not; a prompt without its word, or whose word is cut off, has none.

    Args:
        tokenizer: of the text encoder; its tokens know their place in the text.
        words: one per prompt, which may be of several words; "" is in no prompt.
        length: tokens that the encoder reads.
    """
    batch = tokenizer(
        list(prompts), padding="max_length", max_length=length, truncation=True, return_offsets_mapping=True
    )
    found = torch.zeros(len(prompts), length)
    for row, (prompt, word, offsets) in enumerate(zip(prompts, words, batch["offset_mapping"], strict=True)):
        for start, end in places_of(word, prompt):
            for place, (first, last) in enumerate(offsets):
                found[row, place] = max(float(first < end and last > start), float(found[row, place]))
    return found


def places_of(word: str, prompt: str) -> list[tuple[int, int]]:
    """Return where a word begins and ends in a prompt, each time that it stands there as a whole word.

    Of `something|a scene` either counts.
    """
    words = "|".join(re.escape(part.strip()) for part in word.split("|") if part.strip())
    if not words:
        return []
    pattern = rf"(?<!\w)(?:{words})(?!\w)"
    return [match.span() for match in re.finditer(pattern, prompt, re.IGNORECASE)]
