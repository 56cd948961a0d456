"""What the next round edits: how many edits each class gets, of which images, under which prompts.

A pure function of the figures of the round before, the early losses and the prompts that were planned so far.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from augment.loop.weakness import Weakness
from augment.prompts import PromptConfig
from augment.prompts.draw import plan_source
from augment.run.prompt_table import PromptRow
from augment.seeding import seed_for
from augment.types import Source, Variant

_LEAST = 1e-30  # weight of a prompt's value beside one of 1


@dataclass(frozen=True)
class Limits:
    """How much a round chooses, and by what.

    Attributes:
        edits: of the round.
        per_image: of an image over all rounds.
        focus: exponent of error rates and losses.
        seed: of the draws.
        number: of the round.
    """

    edits: int
    per_image: int
    focus: float
    seed: int
    number: int


def steered_prompts(prompts: PromptConfig, weakness: Weakness, focus: float) -> PromptConfig:
    """Return the prompts with the weight of every value multiplied by (its error rate in the class)^focus.

    Error rates are relative to the largest of the class's values that are not ruled out. A value that was stays so, and
    attributes that val knows nothing of keep their weights.
    """
    overrides = {name: {a: dict(w) for a, w in weights.items()} for name, weights in prompts.overrides.items()}
    for name, attributes in weakness.of_value.items():
        for attribute, rates in attributes.items():
            own = overrides.setdefault(name, {}).setdefault(attribute, {})
            weights = {value.name: own.get(value.name, value.weight) for value in prompts.attributes[attribute]}
            largest = max((rates[value] for value, weight in weights.items() if weight), default=1.0)
            for value, weight in weights.items():
                # The least there is keeps a value allowed, which a power that is zero in floating point would rule out.
                own[value] = weight * max(min(1.0, rates[value] / largest) ** focus, _LEAST)
    return prompts.model_copy(update={"overrides": overrides})


def shares_of(
    count: int, weights: Mapping[str, float], limits: Mapping[str, int], power: float = 1.0
) -> dict[str, int]:
    """Return how many of `count` each name gets: in proportion to weight^power, none more than its limit.

    What a limit cuts off goes to the others, in proportion again. Fractions are rounded by the largest remainder; of
    equal ones the name decides.
    """
    left = min(count, sum(limits[name] for name in weights))
    full: set[str] = set()
    while True:
        rest = sorted(weights.keys() - full)
        for_rest = left - sum(limits[name] for name in full)
        # Relative to the largest of those that are left: of some weights the power itself is zero in floating point.
        largest = max((weights[name] for name in rest), default=1.0)
        relative = {name: (weights[name] / largest) ** power for name in rest}
        total = math.fsum(relative.values())
        exact = {name: for_rest * relative[name] / total for name in rest}
        over = {name for name in rest if exact[name] >= limits[name]}
        if not over:
            break
        full |= over
    given = {name: limits[name] if name in full else math.floor(exact[name]) for name in weights}
    by_remainder = sorted(rest, key=lambda name: (given[name] - exact[name], name))
    for name in by_remainder[: left - sum(given.values())]:
        given[name] += 1
    return given


def drawn_order(sources: Sequence[Source], weights: Mapping[str, float], seed: int, power: float = 1.0) -> list[Source]:
    """Return the sources in the order of a draw without replacement by weight^power, seeded by their keys.

    Exponential clocks (Efraimidis and Spirakis 2006): sorting E / w with E ~ Exp(1) is that draw. By logarithms here:
    no power of a weight is too large or too small for it.
    """
    tiny = float(np.finfo(np.float64).tiny)

    def clock(source: Source) -> tuple[float, str]:
        tick = float(np.random.default_rng(seed_for(seed, "drawn", source.key)).standard_exponential())
        return math.log(max(tick, tiny)) - power * math.log(max(weights[source.key], tiny)), source.key

    return sorted(sources, key=clock)


def chosen_rows(
    sources: Sequence[Source],
    made: Sequence[PromptRow],
    prompts: PromptConfig,
    weakness: Weakness,
    losses: Mapping[str, float],
    limits: Limits,
) -> list[PromptRow]:
    """Return the edits of a round: new rows of the table of prompts.

    Classes get edits in proportion to e_c^focus. The images of a class are drawn without replacement in proportion to
    (early loss)^focus, again and again if there are fewer images than edits. Each takes the first prompts of its own
    draw that it was not edited to yet, under weights e_cv^focus.

    Args:
        sources: the job's images.
        made: all edits planned so far.
        prompts: of the job.
        weakness: of the classifier of the round before.
        losses: of every image after a few steps of training.
    """
    steered = steered_prompts(prompts, weakness, limits.focus)
    planned: dict[str, list[PromptRow]] = defaultdict(list)
    for row in made:
        planned[row.key].append(row)
    room = {s.key: _room(s, prompts, len(planned[s.key]), limits) for s in sources}
    of_class: dict[str, list[Source]] = defaultdict(list)
    for source in sources:
        of_class[source.class_name].append(source)
    rates = {name: weakness.of_class[name] for name in of_class}
    capacity = {name: sum(room[s.key] for s in members) for name, members in of_class.items()}
    found = []
    seed = seed_for(limits.seed, "round", limits.number)
    for name, wanted in shares_of(limits.edits, rates, capacity, limits.focus).items():
        order = drawn_order(of_class[name], losses, seed, limits.focus)
        for source, count in _in_turns(order, room, wanted):
            found += _new_rows(source, planned[source.key], steered, count, limits.seed)
    return found


def _room(source: Source, prompts: PromptConfig, made: int, limits: Limits) -> int:
    """Return how many more edits an image may get: it has as many prompts as its draw gives before they repeat."""
    most = plan_source(source, prompts, limits.per_image, limits.seed)
    return max(0, len({v.prompt for v in most.variants}) - made)


def _in_turns(order: Sequence[Source], room: Mapping[str, int], count: int) -> list[tuple[Source, int]]:
    """Return how many of `count` edits each image gets, one in each turn, as long as it has room."""
    given = dict.fromkeys((s.key for s in order), 0)
    turn = 0
    while count:
        able = [s for s in order if room[s.key] > turn][:count]
        for source in able:
            given[source.key] += 1
        count, turn = count - len(able), turn + 1
    return [(source, given[source.key]) for source in order if given[source.key]]


def _new_rows(
    source: Source, made: Sequence[PromptRow], prompts: PromptConfig, count: int, seed: int
) -> list[PromptRow]:
    """Return the rows of the first prompts of an image that it has not yet, numbered on from those that it has."""
    have = {row.prompt for row in made}
    combinations = math.prod(len(values) for values in prompts.attributes.values()) * len(prompts.templates)
    reach = min(len(made) + count, combinations)
    while True:
        planned = plan_source(source, prompts, reach, seed)
        fresh: dict[str, Variant] = {v.prompt: v for v in planned.variants if v.prompt not in have}
        if len(fresh) >= count or reach >= combinations:
            break
        reach = combinations
    return [
        PromptRow(source.key, len(made) + i, source.class_name, v.prompt, planned.source_prompt, dict(v.attributes))
        for i, v in enumerate(list(fresh.values())[:count])
    ]
