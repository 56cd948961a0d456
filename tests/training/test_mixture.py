"""The ratio of each stream and of all of them, and streams that begin in the middle."""

from __future__ import annotations

import itertools
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from augment.inputs.fit import Fit
from augment.training.mixture import MixedStream, Mixture, Position
from augment.training.pieces import Pieces
from tests.training.test_loader import SIZE, sample, write_shards, write_tar

EMPTY = Mixture((), (), Fraction(1, 2), open_shards=4, class_balanced=False, seed=0)


@pytest.mark.parametrize("ratio", [Fraction(0), Fraction(1, 10), Fraction(1, 3), Fraction(7, 10), Fraction(1)])
def test_each_stream_and_all_together_have_the_share_of_the_ratio_whatever_the_number(ratio: Fraction) -> None:
    mixture = replace(EMPTY, ratio=ratio)
    for count, number in itertools.product((1, 2, 3, 8), range(40)):
        counts = [mixture.synthetic_among(number, index, count) for index in range(count)]
        floor = number * ratio.numerator // ratio.denominator
        assert set(counts) <= {floor, -(-number * ratio.numerator // ratio.denominator)}
        assert sum(counts) == count * number * ratio.numerator // ratio.denominator


@pytest.mark.parametrize(
    ("batch_size", "ratio", "most"), [(4, "1/2", 0), (12, "1/2", 0), (16, "0.1", 1), (8, "1/3", 1)]
)
def test_every_batch_of_every_rank_has_the_ratio(batch_size: int, ratio: str, most: int) -> None:
    mixture = replace(EMPTY, ratio=Fraction(ratio))
    for rank in range(2):
        pieces = Pieces(batch_size, 20 * batch_size, workers=4, rank=rank, world_size=2)
        read = [sum(p.synthetic for p in pieces.positions(mixture, batches)) for batches in range(21)]
        for before, after in itertools.pairwise(read):
            assert abs(after - before - batch_size * mixture.ratio) <= most


@pytest.mark.filterwarnings("ignore:.*is passed over")
@pytest.mark.parametrize("balanced", [False, True])
def test_a_stream_that_begins_in_the_middle_goes_on_as_one_that_did_not(tmp_path: Path, balanced: bool) -> None:
    real = write_shards(tmp_path / "real", num_shards=3, per_shard=10)
    edits = [(f"e{n}", sample(500 + n, n % 3)) for n in range(9)]
    write_tar(tmp_path / "edits.tar", [*edits, ("broken", {"png": b"\x89PNG", "cls": b"1"})])
    shards = tuple(str(path) for path in sorted(real.iterdir()))
    mixture = Mixture(shards, (str(tmp_path / "edits.tar"),), Fraction(2, 5), 2, balanced, seed=3)
    fit = Fit("crop", SIZE)
    whole = MixedStream(mixture, 1, 1, 2)
    for _ in range(21):
        whole.next_picture(fit)
    place = whole.position
    assert place.given == 21 and place.real == 21 - mixture.synthetic_among(21, 1, 2)
    assert place.synthetic > 21 - place.real  # the broken one was read, too
    again = MixedStream(mixture, 1, 1, 2, place)
    for _ in range(30):
        (expected, label), (found, again_label) = whole.next_picture(fit), again.next_picture(fit)
        assert (found == expected).all() and again_label == label
    assert again.position == whole.position != Position()
