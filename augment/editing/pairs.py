"""Which images of a dataset are interpolated between, and under which prompts."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from math import comb, isqrt
from operator import attrgetter

import numpy as np

from augment.errors import InputError
from augment.prompts import PromptConfig, prompt_source
from augment.prompts.draw import source_prompt
from augment.prompts.sources import SEPARATOR
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


def choose_pairs(
    sources: Sequence[Source], prompts: PromptConfig, per_class: int, seed: int, class_names: Collection[str] = ()
) -> list[Pair]:
    """Choose `per_class` different pairs of every class, at random; the first pair of every class comes first.

    The order of the sources changes nothing. A pair draws its own prompt, as an image would; where images bring their
    prompts it has those of its first image, or else of its second.

    Args:
        sources: images.
        prompts: where prompts come from, with `lines` read.
        per_class: number of pairs.
        seed: of the draws.
        class_names: of the whole dataset, whose words the prompts of another class must not have; those of the sources
            if none are given.

    Raises:
        InputError: for a class with fewer pairs than that.
        PromptError: if no prompt is left for a class, or for a pair.
    """
    members = [pair for pairs in _members(sources, per_class, seed) for pair in pairs]
    of_pairs = [_as_source(a, b, prompts.column) for _, a, b in members]
    planner = prompt_source(prompts, class_names or {s.class_name for s in sources}, of_pairs)
    targets = [planner.plan(source, 1, seed).variants[0].prompt for source in of_pairs]
    return [
        Pair(key, a, b, source_prompt(a, prompts), source_prompt(b, prompts), target)
        for (key, a, b), target in zip(members, targets, strict=True)
    ]


def _as_source(a: Source, b: Source, column: str | None) -> Source:
    """Return what prompts are drawn for: a source of a pair's own."""
    source = replace(a, key=f"{a.key} {b.key}")
    if column is None:
        return source
    cells = [s.attributes[column] for s in (a, b) if s.attributes.get(column)]
    return replace(source, attributes=a.attributes | {column: SEPARATOR.join(cells)})


def _members(sources: Sequence[Source], per_class: int, seed: int) -> list[list[tuple[str, Source, Source]]]:
    """Return rounds of pairs, one pair of every class in each: its key and its two images."""
    by_label: dict[int, list[Source]] = {}
    for source in sorted(sources, key=attrgetter("key")):
        by_label.setdefault(source.label, []).append(source)
    rounds: list[list[tuple[str, Source, Source]]] = [[] for _ in range(per_class)]
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
            rounds[i].append((f"{label:05d}-{i:04d}", a, b))
    return rounds
