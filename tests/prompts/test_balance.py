"""The balanced draw: in every class each value as often as its weight says, with whatever is ruled out left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from augment.config import load_config
from augment.errors import PromptError
from augment.prompts import PromptConfig, PromptSource, prompt_source
from augment.run.config import job_sources, load_expand_config
from augment.types import PlannedSource, Source

ROOT = Path(__file__).parents[2]
Counts = dict[str, Counter[str]]


def sources(count: int, class_name: str = "fox", **attributes: str) -> list[Source]:
    label = ("fox", "owl").index(class_name)
    return [Source(f"{class_name}/{i}", "x.png", 1, label, class_name, "", attributes) for i in range(count)]


def grid(*sizes: int, **changes: Any) -> PromptConfig:
    """Attributes `a`, `b`, ... with values `a0`, `a1`, ..."""
    names = "abc"[: len(sizes)]
    attributes = {
        a: [{"name": f"{a}{i}", "text": f"{a}{i}"} for i in range(n)] for a, n in zip(names, sizes, strict=True)
    }
    template = "{a_class} " + " ".join(f"{{{a}}}" for a in names)
    values = {"templates": [template], "attributes": attributes, "draw": "balanced"}
    return PromptConfig.model_validate(values | changes)


def weighted(*weights: float) -> dict[str, Any]:
    return {"attributes": {"a": [{"name": f"a{i}", "text": f"a{i}", "weight": w} for i, w in enumerate(weights)]}}


def plans(config: PromptConfig, images: Sequence[Source], variants: int, seed: int = 0) -> list[PlannedSource]:
    prompts: PromptSource = prompt_source(config, {s.class_name for s in images}, images)
    return [prompts.plan(source, variants, seed) for source in images]


def counts(planned: Sequence[PlannedSource]) -> Counts:
    found: Counts = {}
    for variant in (v for p in planned for v in p.variants):
        for attribute, value in variant.attributes.items():
            found.setdefault(attribute, Counter())[value] += 1
    return found


def spread(counter: Counter[str], values: Sequence[str]) -> int:
    return max(counter[v] for v in values) - min(counter[v] for v in values)


@pytest.mark.parametrize("sizes", [(4,), (2, 3), (3, 3), (4, 6), (2, 3, 4)])
@pytest.mark.parametrize("variants", [1, 2, 3, 5])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_values_of_every_attribute_come_equally_often_after_every_image(
    sizes: tuple[int, ...], variants: int, seed: int
) -> None:
    planned = plans(grid(*sizes), sources(13), variants, seed)
    for p in planned:
        cells = [tuple(v.attributes.values()) for v in p.variants]
        assert len(set(cells)) == min(variants, int(np.prod(sizes)))
    for end in range(1, len(planned) + 1):
        found = counts(planned[:end])
        for attribute, size in zip("abc", sizes, strict=False):
            assert spread(found[attribute], [f"{attribute}{i}" for i in range(size)]) <= 1, (attribute, end)


def test_the_cells_come_equally_often_where_their_values_let_them() -> None:
    planned = plans(grid(2, 3), sources(12), 2)
    cells = Counter(tuple(v.attributes.values()) for p in planned for v in p.variants)
    assert set(cells.values()) == {4}


def test_an_image_that_takes_all_but_one_cell_leaves_the_least_filled_out() -> None:
    """One cell after the other may end where no cell is left that any attribute lacks: then others are exchanged."""
    for seed in range(30):
        found = counts(plans(grid(3, 3), sources(1), 6, seed))
        assert set(found["a"].values()) == set(found["b"].values()) == {2}, seed


def test_more_variants_than_cells_come_round_again_with_the_next_template() -> None:
    config = grid(3, templates=["{a_class} {a}", "the {class} {a}"])
    planned = plans(config, sources(4), 7)
    assert sorted(counts(planned)["a"].values()) == [9, 9, 10]
    assert all(len({v.prompt for v in p.variants}) == 6 for p in planned)


def test_what_is_excluded_never_comes_and_the_rest_is_balanced() -> None:
    exclude = [{"a": "a0", "b": "b0"}, {"class": "owl", "a": "a2"}]
    images = [*sources(20), *sources(20, "owl")]
    planned = plans(grid(3, 4, exclude=exclude), images, 3)
    foxes, owls = counts(planned[:20]), counts(planned[20:])
    assert not any(v.attributes == {"a": "a0", "b": "b0"} for p in planned for v in p.variants)
    assert foxes == {"a": {"a0": 20, "a1": 20, "a2": 20}, "b": {"b0": 15, "b1": 15, "b2": 15, "b3": 15}}
    assert owls == {"a": {"a0": 30, "a1": 30}, "b": {"b0": 15, "b1": 15, "b2": 15, "b3": 15}}


def test_images_that_may_not_have_a_value_leave_it_to_the_others() -> None:
    images = [Source(f"k{i}", "x", 1, 0, "fox", "", {"a": "a0"} if i % 2 else {}) for i in range(25)]
    planned = plans(grid(3, 2, differ_from_source=["a"]), images, 2)
    assert not any(v.attributes["a"] == "a0" for p in planned[1::2] for v in p.variants)
    for end in range(1, 26):  # even after every image that may have every value
        found = counts(planned[:end])
        assert spread(found["b"], ["b0", "b1"]) == 0
        assert spread(found["a"], ["a0", "a1", "a2"]) <= (1 if end % 2 else 2)


def test_counts_follow_the_weights() -> None:
    found = counts(plans(grid(3, **weighted(1, 2, 5)), sources(24), 1))["a"]
    assert found == {"a0": 3, "a1": 6, "a2": 15}
    found = counts(plans(grid(3, **weighted(1, 1, 2)), sources(10), 1))["a"]
    assert (found["a2"], abs(found["a0"] - found["a1"])) == (5, 1)
    ruled_out = grid(3, overrides={"fox": {"a": {"a0": 0, "a1": 3}}})
    assert counts(plans(ruled_out, sources(8), 1))["a"] == {"a1": 6, "a2": 2}


def test_another_seed_and_another_image_draw_other_ties_and_nothing_else_matters() -> None:
    def drawn(seed: int, images: Sequence[Source]) -> list[list[str]]:
        return [[v.prompt for v in p.variants] for p in plans(grid(4, 6), images, 3, seed)]

    assert drawn(0, sources(9)) == drawn(0, sources(9))
    assert len({tuple(drawn(seed, sources(9))[0]) for seed in range(10)}) > 5
    both = drawn(0, [s for pair in zip(sources(9), sources(9, "owl"), strict=True) for s in pair])
    assert both[::2] == drawn(0, sources(9))  # one class knows nothing of another


def test_more_images_at_the_end_change_nothing_for_those_before() -> None:
    few, more = (plans(grid(4, 6), sources(n), 3) for n in (9, 40))
    assert few == more[:9]


def test_a_class_for_which_nothing_is_left_is_named() -> None:
    config = grid(2, exclude=[{"class": "owl", "a": "a0"}, {"class": "owl", "a": "a1"}])
    images = [*sources(2), *sources(1, "owl")]
    assert len(plans(config, images[:2], 1)) == 2
    with pytest.raises(PromptError, match=r"no combination of attributes is left for class 'owl' \(image 'owl/0'\)"):
        plans(config, images, 1)


def test_images_with_prompts_of_their_own_take_no_part() -> None:
    images = [s for i, s in enumerate(sources(8)) for s in ([s] if i % 2 else [sources(8, edits="my fox")[i]])]
    planned = plans(grid(4, column="edits"), images, 1)
    assert [p.variants[0].prompt for p in planned[::2]] == ["my fox"] * 4
    assert counts(planned[1::2])["a"] == {"a0": 1, "a1": 1, "a2": 1, "a3": 1}


def test_the_default_is_no_part_of_the_identity() -> None:
    assert grid(2).identity() == grid(2, draw="weighted").identity() | {"draw": "balanced"}
    assert "draw" not in grid(2, draw="weighted").identity()
    with pytest.raises(ValueError, match="draw: only templates have attributes to balance"):
        PromptConfig(column="edits", draw="balanced")


def test_the_demo_is_balanced_in_every_class() -> None:
    """23 of the 24 pictures of each class have one background, which their edits must not have."""
    config = load_expand_config(ROOT / "configs" / "expand" / "emoji.yaml")
    prompts = load_config(ROOT / "configs" / "prompts" / "emoji.yaml", PromptConfig)
    prompts = prompts.model_copy(update={"draw": "balanced"})
    images, class_names, _ = job_sources(config)
    planned = plans(prompts, images, config.variants_per_image)
    assert (len(planned), len(class_names)) == (384, 16)
    backgrounds, conditions = ([v.name for v in prompts.attributes[a]] for a in ("background", "condition"))
    for name in class_names.values():
        own = [p for p in planned if p.source.class_name == name]
        found = counts(own)
        ((home, times),) = Counter(p.source.attributes["background"] for p in own).most_common(1)
        assert times == 23
        assert spread(found["condition"], conditions) == 0
        assert spread(found["background"], [b for b in backgrounds if b != home]) <= 1
        assert found["background"][home] <= 4  # of the one picture that has another
