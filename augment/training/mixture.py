"""Real and synthetic samples at an exact ratio, shared by streams: one for each worker of each rank.

Where a stream stands is three numbers (`Position`), so that it can go on there without decoding what came before.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from augment.errors import ImageError, InputError
from augment.inputs.fit import Fit
from augment.inputs.images import decode_image
from augment.inputs.locate import relative_names
from augment.inputs.patterns import expand_shards
from augment.seeding import seed_for
from augment.training.balance import class_balanced
from augment.training.shards import Sample, Stream, samples

OPEN_SHARDS = 128
ORDER = 2  # of the rules by which the order is made: a state of another version's loader cannot be gone on from
MAX_DAMAGED = 100  # damaged images in a row; more are no accident, and raise

Shards = Path | str | Sequence[str]


@dataclass(frozen=True)
class Mixture:
    """What is mixed, and how.

    Attributes:
        real, synthetic: shards.
        ratio: p, the share of synthetic samples, 0 to 1.
        open_shards: shards of each kind that a stream has open at once.
        class_balanced: each kind is balanced over its classes (see `augment.training.balance`).
        seed: of everything random.
    """

    real: tuple[str, ...]
    synthetic: tuple[str, ...]
    ratio: Fraction
    open_shards: int
    class_balanced: bool
    seed: int

    def synthetic_among(self, number: int, index: int, count: int) -> int:
        """Return how many of the first n samples of stream i of s are synthetic: floor(n p + i / s).

        That is floor(n p) or ceil(n p), and of all streams together floor(s n p), by Hermite's identity.
        """
        p = self.ratio
        return (number * p.numerator * count + index * p.denominator) // (p.denominator * count)

    def settings(self) -> dict[str, Any]:
        """Return all that the order of the samples depends on, as plain data. Folders may be moved."""
        return {
            "real": seed_for(relative_names(self.real)),
            "synthetic": seed_for(relative_names(self.synthetic)),
            "synthetic_ratio": str(self.ratio),
            "class_balanced": self.class_balanced,
            "open_shards": self.open_shards,
            "seed": self.seed,
            "order": ORDER,
        }


def mixture_of(
    real: Shards, synthetic: Shards | None, synthetic_ratio: float, open_shards: int, class_balanced: bool, seed: int
) -> Mixture:
    """Return a mixture of the tars that these stand for; the arguments are `mixed_loader`'s.

    Raises:
        InputError: if there are no such shards.
        ValueError: for a number out of its range; the message names it.
    """
    if not 0 <= synthetic_ratio <= 1:
        raise ValueError(f"synthetic_ratio is {synthetic_ratio}, expected 0 to 1")
    if open_shards < 1:
        raise ValueError(f"open_shards is {open_shards}, expected at least 1")
    return Mixture(
        real=tuple(expand_shards(real)),
        synthetic=tuple(expand_shards(synthetic)) if synthetic is not None else (),
        ratio=Fraction(str(synthetic_ratio)) if synthetic is not None else Fraction(0),
        open_shards=open_shards,
        class_balanced=class_balanced,
        seed=seed,
    )


@dataclass(frozen=True)
class Position:
    """Where a stream stands in an epoch.

    Attributes:
        given: samples that it has given.
        real, synthetic: samples of each kind that it has read for these. That is more if some could not be decoded.
    """

    given: int = 0
    real: int = 0
    synthetic: int = 0


class MixedStream:
    """One stream's samples of one epoch, without end.

    Args:
        index, count: which stream of how many.
        start: where to begin; what comes before is read, and not decoded.
    """

    def __init__(self, mixture: Mixture, epoch: int, index: int, count: int, start: Position = Position()) -> None:
        self._mixture, self._index, self._count = mixture, index, count
        self._sources = [
            self._source(shards, seed_for(mixture.seed, kind), epoch)
            for kind, shards in (("real", mixture.real), ("synthetic", mixture.synthetic))
        ]
        self._given, self._read = start.given, [start.real, start.synthetic]
        for source, number in zip(self._sources, self._read, strict=True):
            for _ in range(number):
                next(source)

    @property
    def position(self) -> Position:
        """Return where the stream stands."""
        return Position(self._given, *self._read)

    def next_sample(self) -> Sample:
        """Return the next sample, encoded."""
        return self._read_one(self._next_kind())

    def next_picture(self, fit: Fit) -> tuple[np.ndarray, int]:
        """Return pixels, uint8 [H, W, 3], and label of the next sample that can be decoded; warn of those that cannot.

        In place of a damaged one comes the next of the same kind, so that the ratio holds.

        Raises:
            InputError: if more than `MAX_DAMAGED` in a row are damaged.
        """
        kind = self._next_kind()
        damaged = 0
        while True:
            sample = self._read_one(kind)
            try:
                return fit.padded(np.asarray(decode_image(sample.image, fit))), sample.label
            except ImageError as error:
                if damaged == MAX_DAMAGED:
                    raise InputError(f"{sample.where}: {error}; so were the {MAX_DAMAGED} images before it") from error
                warnings.warn(f"{sample.where} is passed over: {error}", stacklevel=2)
                damaged += 1

    def _next_kind(self) -> int:
        """Count one more sample, and return its kind: 0 is real, 1 synthetic."""
        before = self._mixture.synthetic_among(self._given, self._index, self._count)
        self._given += 1
        return self._mixture.synthetic_among(self._given, self._index, self._count) - before

    def _read_one(self, kind: int) -> Sample:
        self._read[kind] += 1
        return next(self._sources[kind])

    def _source(self, shards: tuple[str, ...], seed: int, epoch: int) -> Iterator[Sample]:
        found = samples(shards, Stream(self._index, self._count, self._mixture.open_shards, seed, epoch))
        if self._mixture.class_balanced:
            return class_balanced(found, random.Random(seed_for(seed, "classes", epoch, self._index)))
        return found
