"""The order of samples: exact ratios, whole passes, and nothing to remember."""

from __future__ import annotations

import itertools
from collections import Counter
from fractions import Fraction

import pytest

from augment.training import order as order_module
from augment.training.order import MixedOrder

RATIOS = [Fraction(0), Fraction(1, 4), Fraction("0.3"), Fraction(1, 2), Fraction(1)]


@pytest.mark.parametrize("ratio", RATIOS, ids=str)
@pytest.mark.parametrize("batch_size", [7, 64])
def test_the_ratio_is_exact_after_every_batch(ratio: Fraction, batch_size: int) -> None:
    order = MixedOrder(real=11, synthetic=5, ratio=ratio, batch_size=batch_size, seed=3)
    synthetic = 0
    for number in range(40):
        batch = order.batch(number)
        assert len(batch) == batch_size
        synthetic += sum(place >= 11 for place in batch)
        assert synthetic == (number + 1) * batch_size * ratio // 1 == order.synthetic_before((number + 1) * batch_size)


def test_in_a_pass_every_sample_comes_once_in_another_order_each_time() -> None:
    order = MixedOrder(real=12, synthetic=4, ratio=Fraction(1, 4), batch_size=16, seed=0)
    passes = [order.batch(number) for number in range(6)]  # 12 real and 4 synthetic ones: one pass over each
    assert all(sorted(places) == list(range(16)) for places in passes)
    assert len({tuple(places) for places in passes}) == 6


def test_all_samples_come_equally_often_whatever_the_batches() -> None:
    order = MixedOrder(real=9, synthetic=6, ratio=Fraction(2, 5), batch_size=10, seed=1)
    seen = Counter(place for number in range(3) for place in order.batch(number))
    assert seen == dict.fromkeys(range(15), 2)


def test_few_passes_are_kept_in_memory_however_many_were_gone_through() -> None:
    order = MixedOrder(1000, 1000, Fraction(1, 2), 100, seed=77)
    for number in range(200):
        order.batch(number)
    assert list(order_module._passes((77, "real"), 1000)._kept) == [8, 9]  # 10,000 real samples were drawn


def test_a_batch_depends_on_its_number_and_the_seed_only() -> None:
    def make(seed: int) -> MixedOrder:
        return MixedOrder(real=50, synthetic=20, ratio=Fraction(1, 2), batch_size=8, seed=seed)

    whole = [make(5).batch(number) for number in range(20)]
    assert [make(5).batch(number) for number in reversed(range(20))] == whole[::-1]
    assert make(6).batch(0) != whole[0]


def test_real_and_synthetic_ones_are_mixed_within_a_batch() -> None:
    order = MixedOrder(real=100, synthetic=100, ratio=Fraction(1, 2), batch_size=64, seed=0)
    kinds = [place >= 100 for place in order.batch(0)]
    neighbours = sum(a != b for a, b in itertools.pairwise(kinds))
    assert sum(kinds) == 32 and 20 < neighbours < 45  # 63 if they took turns, 1 if they were sorted


@pytest.mark.parametrize(
    ("real", "synthetic", "ratio", "message"),
    [
        (0, 5, Fraction(1, 2), "real samples are needed"),
        (5, 0, Fraction(1, 2), "synthetic samples are"),
        (5, 5, 2, "0 to 1"),
    ],
)
def test_what_cannot_be_mixed(real: int, synthetic: int, ratio: Fraction, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MixedOrder(real, synthetic, Fraction(ratio), 8, 0)
