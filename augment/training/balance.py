"""Class balance of a stream: samples come in, and go out so that every class seen so far comes equally often."""

from __future__ import annotations

import itertools
import random
from collections import deque
from collections.abc import Iterator

from augment.training.shards import Sample

POOL = 1000  # encoded images held, of all classes together


def class_balanced(samples: Iterator[Sample], rng: random.Random, pool: int = POOL) -> Iterator[Sample]:
    """Yield samples, without end, so that every class comes equally often; what comes in must not end either.

    The classes take turns: round after round every class once, each round in another order. No frequencies need be
    known. For each sample that goes out one comes in and waits for a turn of its class. If a class has none that waits,
    one that it gave before comes again: the rare classes are repeated. If more wait than the pool has room for, one of
    them is dropped, at random: of the frequent classes each pass gives another part.

    A class takes part from its first sample on. Before the first one goes out the pool is filled, or a sample comes for
    the second time; so every class of which some of these samples are is there from the start.

    Args:
        samples: in a random order.
        rng: decides the order of the classes, and what is dropped and repeated.
        pool: samples held: those that wait, and as many given before.
    """
    waiting: dict[int, deque[Sample]] = {}
    given: dict[int, deque[Sample]] = {}

    def take(sample: Sample) -> None:
        own = waiting.setdefault(sample.label, deque())
        own.append(sample)
        if len(own) > max(1, pool // len(waiting)):
            del own[rng.randrange(len(own))]

    seen = set[tuple[str, str]]()
    for sample in itertools.islice(samples, pool):
        take(sample)
        if (sample.shard, sample.key) in seen:
            break
        seen.add((sample.shard, sample.key))
    while True:
        turns = sorted(waiting)
        rng.shuffle(turns)
        for label in turns:
            take(next(samples))
            before = given.setdefault(label, deque())
            sample = waiting[label].popleft() if waiting[label] else rng.choice(before)
            before.append(sample)
            if len(before) > max(1, pool // len(waiting)):
                before.popleft()
            yield sample
