"""Whether batches are as mixed as shuffled ones: the number of classes in a batch, seen and expected."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping

BATCHES_PER_LOOK = 64
TOLERANCE = 0.1  # by which batches may have fewer classes than mixed ones
_SIGMAS = 5.0  # a look at 64 batches of a mixed dataset then misleads once in some million


def expected_classes(counts: Mapping[int, int], batch_size: int) -> float:
    """Return the mean number of different classes in a batch drawn from all samples at random, with replacement.

    That is the sum over the classes of 1 - (1 - p)^n, with the share p of a class and n samples in a batch.

    Args:
        counts: class index -> number of samples.
        batch_size: samples in a batch.
    """
    total = sum(counts.values())
    return sum(1 - (1 - count / total) ** batch_size for count in counts.values())


class MixingCheck:
    """Counts the classes of the batches of one size that go by, and says once if they are too few.

    What mixed batches would have is calculated from all labels seen so far. So sorted data is recognised as soon as the
    classes have changed, and not before.
    """

    def __init__(self, batch_size: int) -> None:
        self._batch_size = batch_size
        self._counts: Counter[int] = Counter()
        self._classes: list[int] = []  # in each batch since the last look
        self._done = False

    def observe(self, labels: Iterable[int]) -> tuple[float, float] | None:
        """Take one batch; return the mean number of classes seen and expected, the first time that it is too small."""
        labels = list(labels)
        if self._done or len(labels) != self._batch_size:
            return None
        self._counts.update(labels)
        self._classes.append(len(set(labels)))
        if len(self._classes) < BATCHES_PER_LOOK:
            return None
        seen, expected = statistics.fmean(self._classes), expected_classes(self._counts, self._batch_size)
        error = statistics.stdev(self._classes) / BATCHES_PER_LOOK**0.5
        self._classes.clear()
        self._done = expected - seen > max(TOLERANCE * expected, _SIGMAS * error)
        return (seen, expected) if self._done else None
