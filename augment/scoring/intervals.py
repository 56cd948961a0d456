"""Means and shares with their 95 % intervals."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

Z = 1.959964  # 97.5 % point of the standard normal distribution
# 97.5 % points of Student's t distribution with 1, 2, ... degrees of freedom; the last stands for all larger numbers.
STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131)


@dataclass(frozen=True)
class Estimate:
    """An estimate and the ends of its 95 % interval."""

    value: float
    low: float
    high: float

    def named(self, name: str) -> dict[str, float]:
        """Return the three as `name`, `name_low` and `name_high`."""
        return {name: self.value, f"{name}_low": self.low, f"{name}_high": self.high}


def mean_of(values: Sequence[float]) -> Estimate:
    """Return the mean, with the interval of the normal approximation: mean -+ 1.96 s / sqrt(n).

    Raises:
        ValueError: for fewer than two values.
    """
    if len(values) < 2:
        raise ValueError(f"an interval needs two values or more, got {len(values)}")
    mean = math.fsum(values) / len(values)
    spread = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (len(values) - 1))
    half = Z * spread / math.sqrt(len(values))
    return Estimate(mean, mean - half, mean + half)


def share_of(hits: Sequence[bool]) -> Estimate:
    """Return the share of hits, with the interval of Wilson 1927, which stays within 0..1.

    Raises:
        ValueError: for no values.
    """
    n = len(hits)
    if not n:
        raise ValueError("a share needs one value or more")
    share = sum(hits) / n
    centre = (share + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * math.sqrt(share * (1 - share) / n + Z**2 / (4 * n**2))
    # Of no hits, or hits only, an end is the share itself; rounded, it can be beyond it.
    return Estimate(share, min(share, max(0.0, centre - half)), max(share, min(1.0, centre + half)))


def lowest_share_of(groups: Sequence[Sequence[bool]]) -> Estimate:
    """Return the lowest share of hits of some groups, with an interval that allows for the choice.

    The lowest of many shares is low by chance too, so the interval of that group alone would miss the lowest true share
    more often than one time in twenty. Here all G groups have an interval at once, each at the level 1 - 0.05 / G
    (Bonferroni's inequality), and the ends are the lowest of theirs. The intervals are exact ones: Wilson's are too
    short that far out.

    Raises:
        ValueError: for no groups, or one without values.
    """
    if not groups:
        raise ValueError("a lowest share needs one group or more")
    counts = [(sum(hits), len(hits)) for hits in groups]
    ends = [exact_interval(hits, n, 0.05 / len(groups)) for hits, n in set(counts)]
    return Estimate(min(hits / n for hits, n in counts), min(low for low, _ in ends), min(high for _, high in ends))


def exact_interval(hits: int, n: int, miss: float) -> tuple[float, float]:
    """Return the ends of the interval of a share by Clopper & Pearson 1934, which misses it at most this often.

    Args:
        hits: of n.
        miss: 0.05 for 95 %.

    Raises:
        ValueError: for no values.
    """
    if not n:
        raise ValueError("a share needs one value or more")
    counts = np.arange(n + 1)
    logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1)))])  # log i! for i = 0..n
    ways = logs[n] - logs - logs[::-1]

    def chance(share: float, chosen: slice) -> float:
        """Return the probability of these numbers of hits."""
        log_chances = ways + counts * math.log(share) + (n - counts) * math.log1p(-share)
        return float(np.exp(log_chances[chosen]).sum())

    def where(falls: Callable[[float], bool]) -> float:
        """Return the share from which on it holds, by halving the interval to the last bits."""
        low, high = 0.0, 1.0
        for _ in range(52):
            middle = (low + high) / 2
            low, high = (low, middle) if falls(middle) else (middle, high)
        return high

    low = where(lambda share: chance(share, slice(hits, None)) >= miss / 2) if hits else 0.0
    high = where(lambda share: chance(share, slice(hits + 1)) <= miss / 2) if hits < n else 1.0
    return low, high


def mean_of_few(values: Sequence[float]) -> Estimate:
    """Return the mean of a few values, such as one for each seed, with Student's interval: mean -+ t s / sqrt(n).

    Raises:
        ValueError: for fewer than two values.
    """
    normal = mean_of(values)
    t = STUDENT[min(len(values) - 2, len(STUDENT) - 1)]
    half = (normal.high - normal.value) * t / Z
    return Estimate(normal.value, normal.value - half, normal.value + half)
