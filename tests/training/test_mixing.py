"""Shards that are sorted by class give batches of all classes, and a warning where they cannot."""

from __future__ import annotations

import itertools
import random
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from augment.inputs.images import encode_png
from augment.storage.tar import write_tar
from augment.training.loader import mixed_loader
from augment.training.mixing import BATCHES_PER_LOOK, MixingCheck, expected_classes
from tests.variants import variants

SIZE, CLASSES, BATCH = 2, 20, 32
PNG = encode_png(np.zeros((SIZE, SIZE, 3), np.uint8))

# A machine with one core is told that two reading processes are too many.
pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")


@pytest.fixture(autouse=True)
def small_buffer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The buffer holds what one shard holds, as with the defaults: 1,000 samples; and a shard has some parts."""
    monkeypatch.setattr("augment.training.shards.SHUFFLE_BUFFER", 100)
    monkeypatch.setattr("augment.training.open_shards.LEAST_BYTES", 2**14)


def write(folder: Path, shards: Sequence[Sequence[int]]) -> Path:
    """Write one shard for each list of labels."""
    for number, labels in enumerate(shards):
        samples = [(f"{number}/{i}", {"png": PNG, "cls": str(label).encode()}) for i, label in enumerate(labels)]
        write_tar(folder / f"{number:04d}.tar", samples)
    return folder


def batches(folder: Path, **settings: Any) -> list[list[int]]:
    """The labels of the batches of one epoch."""
    loader = mixed_loader(folder, batch_size=BATCH, image_size=SIZE, **settings)
    return [labels.tolist() for _, labels in loader]


def mixedness(labels: list[list[int]]) -> float:
    """Mean number of classes in a batch, over that of a perfect shuffle of the same samples."""
    counts = Counter(label for batch in labels for label in batch)
    return sum(len(set(batch)) for batch in labels) / len(labels) / expected_classes(counts, BATCH)


SORTED = {
    "a shard for each class": [[label] * 100 for label in range(CLASSES)],
    "of different sizes": [[label] * (10 + 10 * label) for label in range(CLASSES)],
    "several shards for each class": [[label] * 20 for label in range(CLASSES) for _ in range(10)],
    "classes cut between shards": [[(100 * n + i) // 125 for i in range(100)] for n in range(25)],
}


@pytest.mark.parametrize(
    ("name", "num_workers"),
    variants(itertools.product(SORTED, (0, 3)), kept=[*((name, 0) for name in SORTED), ("a shard for each class", 3)]),
)
def test_sorted_shards_are_mixed_as_well_as_by_a_perfect_shuffle(tmp_path: Path, name: str, num_workers: int) -> None:
    shards = SORTED[name]
    samples = sum(map(len, shards))
    found = batches(write(tmp_path, shards), epoch_samples=samples // BATCH * BATCH, num_workers=num_workers)
    assert mixedness(found) == pytest.approx(1, abs=0.05)
    assert set(Counter(label for batch in found for label in batch)) == set(range(CLASSES))


def test_one_shard_after_the_other_would_not_do(tmp_path: Path) -> None:
    write(tmp_path, SORTED["a shard for each class"])
    with pytest.warns(UserWarning, match=r"batches of 32 have \d\.\d classes .* raise open_shards above 1\."):
        found = batches(tmp_path, epoch_samples=2560, open_shards=1)
    assert mixedness(found) < 0.5


def test_classes_that_follow_each_other_inside_one_shard_are_pointed_out_once(tmp_path: Path) -> None:
    write(tmp_path, [[label for label in range(CLASSES) for _ in range(120)]])
    loader = mixed_loader(tmp_path, batch_size=BATCH, epoch_samples=2400, image_size=SIZE)
    with pytest.warns(UserWarning, match=r"Write their samples again in a random order\.") as caught:
        list(loader)
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        list(loader)  # the next epoch


def test_mixed_shards_and_a_mixture_of_sorted_ones_give_no_warning(tmp_path: Path) -> None:
    write(tmp_path / "real", SORTED["a shard for each class"])
    labels = [label for label in range(CLASSES) for _ in range(100)]
    random.Random(0).shuffle(labels)
    write(tmp_path / "synthetic", [labels[:900], labels[900:]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = batches(tmp_path / "real", synthetic=tmp_path / "synthetic", epoch_samples=4096, synthetic_ratio=0.3)
    assert mixedness(found) == pytest.approx(1, abs=0.05)


def test_expected_classes() -> None:
    assert expected_classes({0: 5}, 8) == 1
    assert expected_classes({0: 1, 1: 1}, 2) == 1.5  # of AA, AB, BA, BB
    assert expected_classes({0: 3, 1: 1}, 2) == pytest.approx(1 - 1 / 16 + 1 - 9 / 16)


def test_random_batches_are_never_called_sorted() -> None:
    rng = random.Random(0)
    for size, classes in ((2, 2), (2, 1000), (64, 20), (8, 3)):
        check = MixingCheck(size)
        draws = (rng.choices(range(classes), k=size) for _ in range(50 * BATCHES_PER_LOOK))
        assert [found for labels in draws if (found := check.observe(labels))] == []


def test_the_check_says_what_it_has_seen_once_and_leaves_short_batches_out() -> None:
    check = MixingCheck(4)
    stream = [[0] * 4] * BATCHES_PER_LOOK + [[1]] * 9 + [[1] * 4] * BATCHES_PER_LOOK + [[2] * 4] * BATCHES_PER_LOOK
    assert [found for labels in stream if (found := check.observe(labels))] == [(1.0, 2 * (1 - 0.5**4))]
