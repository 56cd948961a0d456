"""Which images of a dataset are interpolated between, and under which prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import comb, isqrt
from operator import attrgetter

import numpy as np

from augment.errors import InputError
from augment.prompts import PromptConfig, plan_source
from augment.seeding import seed_for
from augment.types import Source


@dataclass(frozen=True)
class Pair:
    """Two images of a class with their own prompts; `target` is what the images between them are sampled under.

    `key` is the class index and the number of the pair within the class.
    """

    key: str
    a: Source
    b: Source
    prompt_a: str
    prompt_b: str
    target: str


def choose_pairs(sources: Sequence[Source], prompts: PromptConfig, per_class: int, seed: int) -> list[Pair]:
    """Choose `per_class` different pairs of every class, at random; the first pair of every class comes first.

    The order of the sources changes nothing.

    Raises:
        InputError: for a class with fewer pairs than that. PromptError: if no prompt is left for a class.
    """
    by_label: dict[int, list[Source]] = {}
    for source in sorted(sources, key=attrgetter("key")):
        by_label.setdefault(source.label, []).append(source)
    rounds: list[list[Pair]] = [[] for _ in range(per_class)]
    for label, members in sorted(by_label.items()):
        possible = comb(len(members), 2)
        if possible < per_class:
            raise InputError(
                f"class {members[0].class_name!r} has {len(members)} image(s), that is {possible} pair(s), but "
                f"pairs_per_class is {per_class}; add images, lower it, or raise input.limit if that cut them off"
            )
        rng = np.random.default_rng(seed_for("pairs", seed, label))
        for i, number in enumerate(rng.choice(possible, per_class, replace=False).tolist()):
            later = (1 + isqrt(1 + 8 * number)) // 2  # by number: (0, 1), (0, 2), (1, 2), (0, 3), ...
            a, b = members[number - comb(later, 2)], members[later]
            if rng.random() < 0.5:
                a, b = b, a
            plan = plan_source(replace(a, key=f"{a.key} {b.key}"), prompts, 1, seed)  # the pair draws its own prompt
            prompt_b = plan_source(b, prompts, 1, seed).source_prompt
            rounds[i].append(Pair(f"{label:05d}-{i:04d}", a, b, plan.source_prompt, prompt_b, plan.variants[0].prompt))
    return [pair for pairs in rounds for pair in pairs]
