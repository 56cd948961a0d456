"""Class balance: exactly equal counts, rare classes repeated, frequent ones thinned."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import torch

from augment.training.balance import class_balanced
from augment.training.loader import mixed_loader
from augment.training.shards import Sample
from tests.training.test_loader import SIZE, sample, write_tar

COUNTS = {0: 160, 1: 40, 2: 10}


def passes(seed: int = 0) -> Iterator[Sample]:
    """Samples of three classes, in passes, each in another order."""
    numbers = [(label, number) for label, count in COUNTS.items() for number in range(count)]
    rng = random.Random(seed)
    while True:
        rng.shuffle(numbers)
        for label, number in numbers:
            yield Sample("a.tar", f"{label}/{number}", "png", b"", label, {})


def test_every_round_has_every_class_once() -> None:
    found = list(itertools.islice(class_balanced(passes(), random.Random(1), pool=90), 3000))
    rounds = [sorted(s.label for s in found[i : i + 3]) for i in range(0, 3000, 3)]
    assert rounds == [[0, 1, 2]] * 1000
    assert len({tuple(s.label for s in found[i : i + 3]) for i in range(0, 3000, 3)}) == 6


def test_samples_of_a_class_come_about_equally_often_and_none_is_left_out() -> None:
    found = Counter(s.key for s in itertools.islice(class_balanced(passes(), random.Random(1), pool=90), 30_000))
    assert len(found) == sum(COUNTS.values())
    for label, count in COUNTS.items():
        times = [number for key, number in found.items() if key.startswith(f"{label}/")]
        mean = 10_000 / count
        assert sum(times) == 10_000 and 0.6 * mean < min(times) <= max(times) < 1.4 * mean


def test_of_what_comes_in_everything_rare_is_given_before_anything_is_repeated() -> None:
    """A class with exactly its share is neither repeated nor thinned."""
    labels = itertools.cycle([0, 1])
    samples = (Sample("a.tar", str(n), "png", b"", label, {}) for n, label in enumerate(labels))
    found = [s.key for s in itertools.islice(class_balanced(samples, random.Random(0), pool=10), 200)]
    assert len(set(found)) == 200


def test_a_class_that_comes_late_takes_part_from_then_on() -> None:
    late = (Sample("a.tar", str(n), "png", b"", int(n > 500 and n % 9 == 0), {}) for n in itertools.count())
    labels = [s.label for s in itertools.islice(class_balanced(late, random.Random(0), pool=50), 2000)]
    first = labels.index(1)
    assert 440 <= first <= 520 and abs(sum(labels[first:]) - len(labels[first:]) / 2) <= 2


def test_the_loader_balances_each_kind_and_keeps_the_ratio(tmp_path: Path) -> None:
    for name, base in (("real", 0), ("edits", 10)):
        numbers = [label for label, count in COUNTS.items() for _ in range(count)]
        samples = [(f"k{i}", sample(i, base + label)) for i, label in enumerate(numbers)]
        write_tar(tmp_path / f"{name}.tar", samples)
    loader = mixed_loader(
        tmp_path / "real.tar",
        tmp_path / "edits.tar",
        batch_size=12,
        epoch_samples=360,
        image_size=SIZE,
        class_balanced=True,
    )
    assert Counter(torch.cat([labels for _, labels in loader]).tolist()) == dict.fromkeys([0, 1, 2, 10, 11, 12], 60)
