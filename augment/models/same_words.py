"""Which tokens of a prompt are tokens of another: what Prompt-to-Prompt calls the alignment of two prompts."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor


@dataclass(frozen=True)
class SameWords:
    """Hold which tokens of edits are tokens of their sources.

    Attributes:
        places: A(j), the place of an edit's token among the source's; of new tokens any.
        shared: which of an edit's tokens the source has.
    """

    places: Int[Tensor, "N L"]
    shared: Bool[Tensor, "N L"]


def same_words(sources: Sequence[Sequence[int]], edits: Sequence[Sequence[int]], length: int) -> SameWords:
    """Return which tokens of edits are tokens of their sources, in the same order: the longest common subsequence.

    Prompt-to-Prompt aligns by Needleman-Wunsch, a match being worth 1, a mismatch -1 and a gap 0. A mismatch then never
    beats two gaps, so what is aligned is the longest common subsequence. Where the edit is at its end, each filler is
    that in the same place of the source, as in the paper's code.

    Args:
        sources, edits: token ids without fillers, one list for each edit.
        length: L, with fillers.
    """
    places, shared = [], []
    for source, edit in zip(sources, edits, strict=True):
        found = {j: j for j in range(len(edit), length)} | common_subsequence(source, edit)
        places.append([found.get(j, 0) for j in range(length)])
        shared.append([j in found for j in range(length)])
    return SameWords(torch.tensor(places), torch.tensor(shared))


def common_subsequence(source: Sequence[int], edit: Sequence[int]) -> dict[int, int]:
    """Return the longest common subsequence as place in the edit -> place in the source; of several the earliest."""
    lengths = [[0] * (len(edit) + 1) for _ in range(len(source) + 1)]
    for i, j in itertools.product(range(1, len(source) + 1), range(1, len(edit) + 1)):
        both = lengths[i - 1][j - 1] + 1 if source[i - 1] == edit[j - 1] else 0
        lengths[i][j] = max(both, lengths[i - 1][j], lengths[i][j - 1])
    pairs, i, j = {}, len(source), len(edit)
    while i and j:
        if lengths[i][j] == lengths[i][j - 1]:
            j -= 1
        elif lengths[i][j] == lengths[i - 1][j]:
            i -= 1
        else:
            i, j = i - 1, j - 1
            pairs[j] = i
    return pairs
