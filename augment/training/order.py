"""Which sample comes when: real and synthetic ones at an exact ratio, and each of them equally often.

Everything follows from the number of a batch: a run that goes on from a checkpoint needs to know nothing else.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from augment.seeding import seed_for


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
        return int(_order_of_pass(seed_for(self.seed, kind, number_of_pass), count)[place])


@functools.lru_cache(maxsize=8)
def _order_of_pass(seed: int, count: int) -> np.ndarray:
    return np.random.default_rng(seed).permutation(count)
