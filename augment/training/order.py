"""Which sample comes when: real and synthetic ones at an exact ratio, and each of them equally often.

Everything follows from the number of a batch: a run that goes on from a checkpoint needs to know nothing else.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

import numpy as np

from augment.seeding import seed_for

_PASSES_KEPT = 2  # of some samples; a batch can have the end of one and the beginning of the next


class BatchOrder(Protocol):
    """Says which samples a batch has: real ones, and behind them synthetic ones."""

    def batch(self, number: int) -> list[int]:
        """Return the samples of a batch."""

    def synthetic_before(self, number: int) -> int:
        """Return how many of the first so many samples are synthetic."""


@dataclass(frozen=True)
class MixedOrder:
    """The endless sequence of samples that a run trains on, cut into batches.

    Of the first n samples, floor(n p) are synthetic, whatever n is; so of any n in a row floor(n p) or ceil(n p) are.
    Both kinds are gone through in passes, each pass in an order of its own: in a pass every sample comes once.

    Attributes:
        real, synthetic: number of samples of each kind.
        ratio: p, the share of synthetic samples, 0 to 1.
        batch_size: samples of a batch.
        seed: of the order in each pass.
    """

    real: int
    synthetic: int
    ratio: Fraction
    batch_size: int
    seed: int

    def __post_init__(self) -> None:
        if not 0 <= self.ratio <= 1:
            raise ValueError(f"ratio is {self.ratio}, expected 0 to 1")
        if self.ratio < 1 and not self.real:
            raise ValueError(f"ratio is {self.ratio}, so real samples are needed, and there are none")
        if self.ratio > 0 and not self.synthetic:
            raise ValueError(f"ratio is {self.ratio}, so synthetic samples are needed, and there are none")

    def synthetic_before(self, number: int) -> int:
        """Return how many of the first so many samples are synthetic."""
        return number * self.ratio.numerator // self.ratio.denominator

    def batch(self, number: int) -> list[int]:
        """Return the samples of a batch: i for the i-th real one, `real` + i for the i-th synthetic one.

        Within the batch their order is random: CutMix and MixUp pair neighbours.
        """
        first = number * self.batch_size
        chosen = []
        for place in range(first, first + self.batch_size):
            before = self.synthetic_before(place)
            if self.synthetic_before(place + 1) > before:
                chosen.append(self.real + self._drawn("synthetic", self.synthetic, before))
            else:
                chosen.append(self._drawn("real", self.real, place - before))
        np.random.default_rng(seed_for(self.seed, "batch", number)).shuffle(chosen)
        return chosen

    def _drawn(self, kind: str, count: int, number: int) -> int:
        number_of_pass, place = divmod(number, count)
        return int(_passes((self.seed, kind), count).order(number_of_pass)[place])


@dataclass(frozen=True)
class StagedOrder:
    """Batches of balanced synthetic samples first, then batches of real ones.

    In the first stage the groups take turns, in an order that is random in each turn; the samples of each group are
    gone through in passes. So of any n samples in a row every group has its share, to within one, however large it is.

    Attributes:
        real: number of real samples.
        groups: the places of the synthetic samples of each group, counted from 0.
        border: number of batches of the first stage.
        batch_size: samples of a batch.
        seed: of the order.
    """

    real: int
    groups: Sequence[Sequence[int]]
    border: int
    batch_size: int
    seed: int

    def synthetic_before(self, number: int) -> int:
        """Return how many of the first so many samples are synthetic."""
        return min(number, self.border * self.batch_size)

    def batch(self, number: int) -> list[int]:
        """Return the samples of a batch, as `MixedOrder.batch` does."""
        if number >= self.border:
            seconds = MixedOrder(self.real, 0, Fraction(0), self.batch_size, seed_for(self.seed, "second stage"))
            return seconds.batch(number - self.border)
        first = number * self.batch_size
        chosen = [self.real + self._balanced(place) for place in range(first, first + self.batch_size)]
        np.random.default_rng(seed_for(self.seed, "batch", number)).shuffle(chosen)
        return chosen

    def _balanced(self, place: int) -> int:
        turn, position = divmod(place, len(self.groups))
        chosen = int(_passes((self.seed, "turn"), len(self.groups)).order(turn)[position])
        group = self.groups[chosen]
        number_of_pass, within = divmod(turn, len(group))
        return group[int(_passes((self.seed, "group", chosen), len(group)).order(number_of_pass)[within])]


class _Passes:
    """The orders of the passes through some samples; the latest are kept, because each takes as long as all samples.

    Args:
        names: of the samples, with the seed: what the seeds of the orders are made of.
        count: of the samples.
    """

    def __init__(self, names: tuple[int | str, ...], count: int) -> None:
        self._names, self._count = names, count
        self._kept: dict[int, np.ndarray] = {}

    def order(self, number: int) -> np.ndarray:
        """Return the order of a pass, int64 [count]."""
        found = self._kept.pop(number, None)
        if found is None:
            found = np.random.default_rng(seed_for(*self._names, number)).permutation(self._count)
        self._kept[number] = found
        if len(self._kept) > _PASSES_KEPT:
            del self._kept[next(iter(self._kept))]
        return found


@functools.lru_cache(maxsize=4096)  # of each group of a staged order one
def _passes(names: tuple[int | str, ...], count: int) -> _Passes:
    return _Passes(names, count)
