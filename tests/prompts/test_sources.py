"""Prompts from lines and from columns: which an image gets, and what the guards leave out."""

from __future__ import annotations

from typing import Any

import pytest

from augment.errors import PromptError
from augment.prompts import PromptConfig, plan_source, prompt_source
from augment.prompts.sources import refused_prompts
from augment.types import PlannedSource, Source

CLASSES = ("red_fox", "owl")


def source(key: str, class_name: str, **attributes: str) -> Source:
    return Source(key, f"{key}.png", 1, CLASSES.index(class_name), class_name, "", attributes)


def texts(planned: PlannedSource) -> list[str]:
    return [variant.prompt for variant in planned.variants]


def of_lines(*for_all: str, **more: Any) -> PromptConfig:
    return PromptConfig.model_validate({"lines": {"*": for_all, "red fox": ["a red fox, asleep"]} | more})


def test_a_class_has_its_own_lines_and_those_for_all() -> None:
    prompts = prompt_source(of_lines("{a_class} at night", "one {class} on snow"), CLASSES)
    fox, owl = (prompts.plan(source("k", name), 4, 0) for name in CLASSES)
    assert set(texts(fox)[:3]) == {"a red fox, asleep", "a red fox at night", "one red fox on snow"}
    assert texts(fox)[3] == texts(fox)[0]  # used up, so they come again
    assert sorted(texts(owl)) == ["an owl at night", "an owl at night", "one owl on snow", "one owl on snow"]
    assert [v.index for v in fox.variants] == [0, 1, 2, 3]
    assert (fox.source_prompt, fox.variants[0].attributes) == ("a picture of a red fox", {})


def test_the_order_is_the_images_own_and_another_line_moves_none() -> None:
    four = [f"{{a_class}} {place}" for place in ("here", "there", "inside", "outside")]
    few, more = (prompt_source(of_lines(*some), CLASSES) for some in (four[:3], four))
    for key in map(str, range(20)):
        before, after = (texts(p.plan(source(key, "owl"), n, 7)) for p, n in ((few, 3), (more, 4)))
        assert [text for text in after if text != "an owl outside"] == before
    orders = {tuple(texts(more.plan(source(str(i), "owl"), 4, 7))) for i in range(100)}
    assert len(orders) == 24
    assert orders != {tuple(texts(more.plan(source("0", "owl"), 4, seed))) for seed in range(5)}


def test_lines_that_the_guards_refuse_are_left_out_and_counted() -> None:
    prompts = prompt_source(of_lines("{a_class} beside an owl", "an owl in snow", "a dog", "{a_class}"), CLASSES)
    sources = [source("k", name) for name in CLASSES]
    assert sorted(texts(prompts.plan(sources[0], 2, 0))) == ["a red fox", "a red fox, asleep"]
    assert sorted(texts(prompts.plan(sources[1], 3, 0))) == ["an owl", "an owl beside an owl", "an owl in snow"]
    (warning,) = refused_prompts(prompts, sources)
    # "an owl in snow" is the owls' line, and no refusal of the foxes'
    assert warning.startswith("lines: 3 left out (class word lost 2, another class 1), the first is 'a dog'")


def test_a_class_without_a_line_is_an_error() -> None:
    prompts = prompt_source(of_lines("a red fox in snow"), CLASSES)
    with pytest.raises(PromptError, match=r"left for class 'owl': 'a red fox in snow' is left out, because"):
        prompts.plan(source("k", "owl"), 1, 0)


def test_a_column_gives_an_image_its_own_prompts_once_each() -> None:
    prompts = prompt_source(PromptConfig(column="edits"), CLASSES)
    planned = prompts.plan(source("k", "owl", edits="an owl in snow | an  owl at night|An owl in snow|a dog"), 4, 0)
    assert texts(planned) == ["an owl in snow", "an owl at night"]
    assert texts(prompts.plan(planned.source, 1, 0)) == ["an owl in snow"]
    (warning,) = refused_prompts(prompts, [planned.source])
    assert warning.startswith("column 'edits': 1 left out (class word lost 1), the first is 'a dog' for image 'k'")
    for cell, why in (("", "it has none"), ("a dog", "'a dog' is left out, because the class word 'owl' is not in it")):
        with pytest.raises(PromptError, match=why):
            prompts.plan(source("k", "owl", edits=cell), 4, 0)


def test_images_without_a_prompt_of_their_own_have_those_of_the_other_source() -> None:
    grid = PromptConfig(column="edits", templates=("{a_class} in snow", "{a_class} at night"))
    prompts = prompt_source(grid, CLASSES)
    assert prompts.plan(source("k", "owl"), 2, 3) == plan_source(source("k", "owl"), grid, 2, 3)
    assert texts(prompts.plan(source("k", "owl", edits="my owl"), 2, 3)) == ["my owl"]


def test_a_grid_alone_is_drawn_as_ever_and_known_as_ever() -> None:
    grid = PromptConfig(templates=("{a_class} in snow", "{a_class} at night"))
    assert prompt_source(grid, CLASSES).plan(source("k", "owl"), 3, 1) == plan_source(source("k", "owl"), grid, 3, 1)
    assert sorted(grid.identity()) == sorted(
        ["templates", "source_template", "scene_only", "attributes", "overrides", "exclude", "differ_from_source"]
    )
    with pytest.raises(PromptError, match="have no templates"):
        plan_source(source("k", "owl"), of_lines("{class}"), 1, 0)


def test_the_identity_tells_lines_columns_and_blocklists_apart() -> None:
    grid: dict[str, Any] = {"templates": ("{class}",)}
    all_of_them = [
        PromptConfig.model_validate(values)
        for values in (grid, grid | {"column": "a"}, grid | {"blocklist": ("b",)}, {"lines": {"*": ("a {class}",)}})
    ]
    all_of_them.append(of_lines("{class}"))
    identities = [str(sorted(config.identity().items())) for config in all_of_them]
    assert len(set(identities)) == 5
    assert "{class}" not in str(all_of_them[-1].identity()["lines"])  # a hash: a plan need not hold a thousand lines
