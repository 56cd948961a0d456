"""Intervals with known ends."""

from __future__ import annotations

import numpy as np
import pytest

from augment.scoring.intervals import exact_interval, lowest_share_of, mean_of, mean_of_few, share_of


def test_a_mean_has_the_interval_of_the_normal_approximation() -> None:
    estimate = mean_of([1.0, 2.0, 3.0, 4.0])  # s = 1.290994, s / sqrt(4) = 0.645497
    assert estimate.value == 2.5
    assert estimate.low == pytest.approx(2.5 - 1.959964 * 0.645497, abs=1e-5)
    assert estimate.high == pytest.approx(2.5 + 1.959964 * 0.645497, abs=1e-5)
    assert estimate.named("x") == {"x": 2.5, "x_low": estimate.low, "x_high": estimate.high}


def test_a_mean_of_few_has_students_interval() -> None:
    """Tables of Student's t give 12.706, 4.303 and 2.131 for 1, 2 and 15 degrees of freedom at 97.5 %."""
    for n, t in ((2, 12.706), (3, 4.303), (16, 2.131), (40, 2.131)):
        values = [float(i % 2) for i in range(n)]
        estimate, normal = mean_of_few(values), mean_of(values)
        assert estimate.value == normal.value
        assert estimate.high - estimate.value == pytest.approx((normal.high - normal.value) * t / 1.959964, rel=1e-6)
        assert estimate.low == pytest.approx(2 * estimate.value - estimate.high)


@pytest.mark.parametrize(
    ("hits", "n", "low", "high"),
    [
        (5, 10, 0.236593, 0.763407),
        (81, 263, 0.255290, 0.366240),
        (10, 10, 0.722467, 1.0),
        (0, 10, 0.0, 0.277533),
    ],
)
def test_a_share_has_wilsons_interval(hits: int, n: int, low: float, high: float) -> None:
    """Newcombe 1998, table I, method 3, gives 0.2553 to 0.3662 for 81 of 263."""
    estimate = share_of([True] * hits + [False] * (n - hits))
    assert estimate.value == pytest.approx(hits / n)
    assert (estimate.low, estimate.high) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))


def test_no_rounding_puts_a_share_outside_of_its_interval() -> None:
    for n in range(1, 300):
        for hits in (0, n):
            share = share_of([True] * hits + [False] * (n - hits))
            assert 0 <= share.low <= share.value <= share.high <= 1
            assert (share.low, share.high)[hits > 0] == pytest.approx(share.value, abs=1e-12)


def test_too_few_values_are_refused() -> None:
    with pytest.raises(ValueError, match="two values or more, got 1"):
        mean_of([1.0])
    with pytest.raises(ValueError, match="one value or more"):
        share_of([])


@pytest.mark.parametrize(
    ("hits", "n", "low", "high"),
    [
        (81, 263, 0.2527, 0.3676),
        (15, 148, 0.0578, 0.1617),
        (0, 20, 0.0, 0.1684),
        (1, 29, 0.0009, 0.1776),
        (29, 29, 0.8806, 1.0),
    ],
)
def test_the_exact_interval(hits: int, n: int, low: float, high: float) -> None:
    """Newcombe 1998, table I, method 5, and the mirror image of his 0 of 29."""
    assert exact_interval(hits, n, 0.05) == pytest.approx((low, high), abs=1e-4)


def test_the_interval_of_the_lowest_share_allows_for_the_choice() -> None:
    """Of 24 groups that are all at 95 % the lowest is lower by chance; its own interval misses 95 % too often."""
    random_numbers = np.random.default_rng(0)
    allowed = alone = 0
    for _ in range(200):
        groups = [(random_numbers.random(32) < 0.95).tolist() for _ in range(24)]
        lowest = lowest_share_of(groups)
        assert lowest.value == min(share_of(group).value for group in groups)
        allowed += lowest.low <= 0.95 <= lowest.high
        own = min((share_of(group) for group in groups), key=lambda share: share.value)
        alone += own.low <= 0.95 <= own.high
    assert alone < 0.8 * 200 and allowed >= 0.95 * 200
    one = lowest_share_of([[True] * 81 + [False] * 182])
    assert (one.low, one.high) == exact_interval(81, 263, 0.05)
    with pytest.raises(ValueError, match="one group or more"):
        lowest_share_of([])
