"""From one image to its prompts: a seeded, weighted draw without replacement from the grid of its class.

Where `draw` is `balanced` the cells come from `augment.prompts.balance` instead, which looks at all images of a job.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

import numpy as np

from augment.errors import PromptError
from augment.prompts.grid import PromptConfig, combination_weights
from augment.prompts.templates import fields_of, fill
from augment.seeding import seed_for
from augment.types import PlannedSource, Source, Variant


def plan_source(source: Source, config: PromptConfig, num_variants: int, seed: int) -> PlannedSource:
    """Return the source with its own prompt and `num_variants` target prompts.

    Combinations are drawn one after the other in proportion to their weights and do not repeat before every allowed
    one was used; then they come again in the same order, each with its next template. The draw depends on `seed` and
    the source's key only, and its first k prompts are the same whatever `num_variants` is.

    Args:
        source: image.
        config: whose `draw` is not looked at: one image alone has nothing to be balanced with.
        num_variants: number of target prompts.
        seed: of the run.

    Raises:
        PromptError: if exclusions and `differ_from_source` leave nothing to draw, or there is no template.
        ValueError: if `num_variants` is not positive.
    """
    if num_variants < 1:
        raise ValueError(f"num_variants must be at least 1, not {num_variants}")
    if not config.templates:
        raise PromptError("the prompts have no templates, and only templates have a grid to draw from; give some")
    weights = combination_weights(config, source.class_name, source.attributes)
    order = _draw_order(weights, np.random.default_rng(seed_for(seed, source.key))).tolist()
    cells = [order[i % len(order)] for i in range(num_variants)] if order else []
    return planned_from_cells(source, config, cells, seed)


def planned_from_cells(source: Source, config: PromptConfig, cells: Sequence[int], seed: int) -> PlannedSource:
    """Return the source with its own prompt and one target prompt for each cell.

    Args:
        source: image.
        config: with templates.
        cells: flat indices of cells of the grid; one that comes again comes with its next template.
        seed: of the run.

    Raises:
        PromptError: if there is no cell.
    """
    if not cells:
        raise PromptError(
            f"no combination of attributes is left for class {source.class_name!r} (image {source.key!r}): overrides, "
            "exclude and differ_from_source rule out all of them; allow more values for this class"
        )
    shape = tuple(len(values) for values in config.attributes.values())
    templates, before, variants = config.templates, Counter[int](), list[Variant]()
    said = set[str]()
    for i, flat in enumerate(cells):
        cell = np.unravel_index(flat, shape)
        chosen = {a: values[int(k)] for (a, values), k in zip(config.attributes.items(), cell, strict=True)}
        # Any fixed, even spread of templates over combinations will do before combinations repeat.
        first = seed_for(seed, source.key, flat) if len(templates) > 1 else 0
        turn = (first + before[flat]) % len(templates)
        texts = {a: value.text for a, value in chosen.items()}
        sentences = {t: fill(t, source.class_name, texts) for t in (*templates[turn:], *templates[:turn])}
        # Templates without some attribute say the same of several cells: then the next one has its turn.
        template = next((t for t, sentence in sentences.items() if sentence not in said), templates[turn])
        before[flat] += 1
        said.add(sentences[template])
        of_prompt = set(fields_of(template))
        shown = {a: value.name for a, value in chosen.items() if a in of_prompt}
        variants.append(Variant(i, sentences[template], shown))
    return PlannedSource(source, source_prompt(source, config), tuple(variants))


def unused_classes(config: PromptConfig, class_names: Collection[str]) -> list[str]:
    """Return the classes that `overrides` or `exclude` mention and the dataset lacks, sorted: probably misspelt."""
    mentioned = {*config.overrides, *(c["class"] for c in config.exclude if "class" in c)}
    return sorted(mentioned - set(class_names))


def _draw_order(weights: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return flat indices of all cells with a weight, in the order of a successive weighted draw without replacement.

    Exponential clocks (Efraimidis and Spirakis 2006): sorting E / w with E ~ Exp(1) is that draw. Every cell gets its
    number, so ruling one out leaves the order of the others alone.
    """
    clocks = rng.standard_exponential(weights.size)
    allowed = np.flatnonzero(weights)
    return allowed[np.argsort(clocks[allowed] / weights.ravel()[allowed], kind="stable")]


def source_prompt(source: Source, config: PromptConfig) -> str:
    """Return the caption of a source, or what the template says with the attributes that are known of it."""
    if source.caption:
        return source.caption
    texts = {a: {v.name: v.text for v in values} for a, values in config.attributes.items()}
    known = {a: by_name.get(source.attributes.get(a, ""), "") for a, by_name in texts.items()}
    return fill(config.source_template, source.class_name, known)
