from __future__ import annotations

from itertools import pairwise

import pytest

from augment.seeding import seed_for, spread


def test_a_known_value() -> None:
    """Seeds are written into datasets: the same parts must give the same number in every release."""
    assert seed_for(0, "fox/1") == 7842537525361330116


@pytest.mark.parametrize("other", [("ab", "c"), ("a", "b", "c"), ("bc", "a"), ("a", "bc", ""), ("a", "b'\x1f'c")])
def test_cutting_and_order_matter(other: tuple[str, ...]) -> None:
    assert seed_for("a", "bc") != seed_for(*other)


def test_types_matter() -> None:
    assert seed_for(1) != seed_for("1")


def test_seeds_are_spread_over_63_bits() -> None:
    seeds = sorted(seed_for(0, i) for i in range(2000))
    assert 0 <= seeds[0] < 2**63 / 100
    assert 2**63 * 0.99 < seeds[-1] < 2**63
    assert all(a != b for a, b in pairwise(seeds))
    assert sum(s % 2 for s in seeds) == pytest.approx(1000, abs=100)


def test_a_sample_takes_one_from_each_portion() -> None:
    sample = spread(range(1000), 10, "sheet")
    assert [i // 100 for i in sample] == list(range(10))
    assert sample == spread(range(1000), 10, "sheet") != spread(range(1000), 10, "preview")
    assert len({i % 100 for i in sample}) > 5  # no fixed stride
    assert spread(range(3), 10, "sheet") == [0, 1, 2]
    assert spread([], 10, "sheet") == []
