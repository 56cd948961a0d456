"""How edits are used beside the real pictures: the recipe of a run as an order of its samples and their weights."""

from __future__ import annotations

import functools
import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from augment.errors import InputError
from augment.inputs.readers import read_bytes
from augment.seeding import seed_for
from augment.training.config import (
    CLASS,
    RepeatedRealRecipe,
    TargetedRecipe,
    TrainingConfig,
    TwoStageRecipe,
    WeightedRecipe,
)
from augment.training.data import TrainingSets
from augment.training.early import early_losses, learned_late
from augment.training.edit_records import SOURCE_KEY, SOURCE_SHA256, number_in, read_records
from augment.training.order import BatchOrder, MixedOrder, StagedOrder
from augment.training.soft_labels import soft_labels
from augment.types import Source


@dataclass(frozen=True)
class Samples:
    """What a run trains on.

    Attributes:
        sources: the samples, real ones first.
        order: of them; says which are in a batch.
        weights: of each sample's loss, float32 [N]; None: all count alike.
        soft: shares of the classes of each edit, float32 [S, C]; None: they have their class alone.
        repeats_real: whether a real picture stands in the place of each edit.
    """

    sources: list[Source]
    order: BatchOrder
    weights: np.ndarray | None = None
    soft: np.ndarray | None = None
    repeats_real: bool = False


def used_sets(config: TrainingConfig, sets: TrainingSets, out: Path) -> TrainingSets:
    """Return the sets with those edits alone that the recipe uses.

    Args:
        out: the run's folder, which keeps what a short run has said.

    Raises:
        InputError: if the recipe needs to know what an edit was made of, and its record does not say.
    """
    recipe = config.recipe
    if not isinstance(recipe, TargetedRecipe):
        return sets
    made_of = _sources_of_edits(sets)
    late = learned_late(sets.real, early_losses(config, sets, recipe.steps, out), recipe.share)
    used = [edit for edit, source in zip(sets.synthetic, made_of, strict=True) if source.key in late]
    if not used:
        raise InputError(
            f"recipe: none of the {len(sets.synthetic)} edits was made of one of the {len(late)} real pictures that "
            "are not learned early; raise recipe.share, or expand more pictures"
        )
    return replace(sets, synthetic=used)


def samples_of(config: TrainingConfig, sets: TrainingSets) -> Samples:
    """Return the samples of a run in the order of its recipe.

    Args:
        sets: of `used_sets`.

    Raises:
        InputError: if the edits' records do not say what the recipe needs.
    """
    recipe, synthetic = config.recipe, config.data.synthetic
    seed, size = seed_for(config.seed, "order"), config.batch_size
    sources = [*sets.real, *sets.synthetic]
    soft = soft_labels(sets, synthetic.soft_labels) if synthetic and synthetic.soft_labels else None
    if isinstance(recipe, TwoStageRecipe):
        groups = balanced_groups(sets.synthetic, recipe.balance)
        return Samples(sources, StagedOrder(len(sets.real), groups, config.first_stage, size, seed), soft=soft)
    ratio = Fraction(str(synthetic.ratio)) if synthetic else Fraction(0)
    order = MixedOrder(len(sets.real), len(sets.synthetic), ratio, size, seed)
    if isinstance(recipe, WeightedRecipe):
        return Samples(sources, order, loss_weights(sets, recipe), soft)
    if isinstance(recipe, RepeatedRealRecipe):
        return Samples([*sets.real, *_sources_of_edits(sets)], order, repeats_real=True)
    return Samples(sources, order, soft=soft)


def balanced_groups(edits: Sequence[Source], names: Sequence[str]) -> list[list[int]]:
    """Return the places of the edits of each combination of class and attributes that has any, sorted by name.

    Raises:
        InputError: if an edit's record does not say an attribute.
    """
    groups: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for place, edit in enumerate(edits):
        groups[tuple(_shown(edit, name) for name in names)].append(place)
    return [groups[name] for name in sorted(groups)]


def loss_weights(sets: TrainingSets, recipe: WeightedRecipe) -> np.ndarray:
    """Return the weight of each sample, float32 [N]: 1 for real ones, (score / mean score)^power for edits.

    Raises:
        InputError: if a record has no such score, or a negative one, or all are zero.
    """
    records = read_records(sets.synthetic)
    scores = np.array([_score(edit, records[edit.place], recipe.score) for edit in sets.synthetic])
    if not scores.any():
        raise InputError(f"recipe.score: {recipe.score} is zero in the records of all edits; weigh by another one")
    of_edits = (scores / scores.mean()) ** recipe.power
    return np.concatenate([np.ones(len(sets.real)), of_edits]).astype(np.float32)


def _sources_of_edits(sets: TrainingSets) -> list[Source]:
    """Return the real picture that each edit was made of, by its key and, where the record has it, its sha256."""
    of_key = {source.key: source for source in sets.real}
    digest = functools.cache(lambda key: hashlib.sha256(read_bytes(of_key[key])).hexdigest())
    found = []
    for edit in sets.synthetic:
        key = edit.attributes.get(SOURCE_KEY, "")
        if key not in of_key:
            made_of = f"was made of {key!r}, which is not in data.real" if key else f"has no {SOURCE_KEY} in its .json"
            raise InputError(
                f"recipe: {edit.place} {made_of}. This recipe needs the pictures that the edits were made of: give "
                "data.real the dataset that was expanded, in the same format"
            )
        if edit.attributes.get(SOURCE_SHA256, digest(key)) != digest(key):
            raise InputError(
                f"recipe: {edit.place} was made of another file than the {key!r} of data.real. This recipe needs the "
                "pictures that the edits were made of: give data.real the dataset that was expanded"
            )
        found.append(of_key[key])
    return found


def _shown(edit: Source, name: str) -> str:
    """Return the value of an attribute that an edit shows: of its prompt, or a text of its record."""
    if name == CLASS:
        return edit.class_name
    if value := target_attributes(edit).get(name) or edit.attributes.get(name):
        return str(value)
    raise InputError(f"recipe.balance: the record of {edit.place} does not say its {name!r}; leave it out")


def target_attributes(edit: Source) -> Mapping[str, str]:
    """Return the attributes that an edit's prompt names, by its record; empty if it says none."""
    try:
        found = json.loads(edit.attributes.get("target_attributes", "{}"))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _score(edit: Source, record: Mapping[str, Any], name: str) -> float:
    score = number_in(record.get(name))
    if score is None:
        raise InputError(
            f"recipe.score: the record of {edit.place} has {record.get(name)!r} as its {name!r}, and a weight is made "
            "of a number that is 0 or more, such as label_probability"
        )
    return score
