"""The attribute grids that ship."""

from __future__ import annotations

import numpy as np
import pytest

from augment.prompts import plan_source
from augment.prompts.domains import NEUTRAL, domains
from augment.prompts.grid import combination_weights
from augment.types import Source

SOURCE = Source("a", "a.png", 1, 0, "fox")


def test_those_there_are() -> None:
    assert list(domains()) == [
        *("defects", "drawings", "embedded", "medical", "natural", "neutral", "products", "satellite"),
    ]
    assert NEUTRAL in domains()
    natural = domains()["natural"].prompts
    assert list(natural.attributes) == ["place", "season", "weather", "time_of_day", "light", "viewpoint"]


@pytest.mark.parametrize("name", domains())
def test_its_prompts_are_sentences_that_name_the_class(name: str) -> None:
    domain = domains()[name]
    planned = plan_source(SOURCE, domain.prompts, 64, 0)
    prompts = {variant.prompt for variant in planned.variants}
    assert len(prompts) > 12
    for prompt in (*prompts, planned.source_prompt):
        assert "fox" in prompt.split(",")[0] + prompt.partition(",")[2].split(",")[0]
        assert prompt == prompt.strip(" ,") and ",," not in prompt and ", ," not in prompt and "  " not in prompt
        assert len(prompt) < 160  # CLIP reads 77 tokens


def test_what_contradicts_itself_is_never_drawn() -> None:
    prompts = domains()["natural"].prompts
    weights = combination_weights(prompts, "fox", {})
    names = {attribute: [value.name for value in values] for attribute, values in prompts.attributes.items()}
    allowed = {
        tuple(names[attribute][i] for attribute, i in zip(names, cell, strict=True)) for cell in np.argwhere(weights)
    }
    places = list(names)
    place, weather, time, light = (places.index(name) for name in ("place", "weather", "time_of_day", "light"))
    assert not any(cell[time] == "night" and cell[light] == "sun" for cell in allowed)
    assert not any(cell[place] == "room" and cell[weather] != "any" for cell in allowed)
    assert any(cell[place] == "forest" and cell[weather] == "snow" for cell in allowed)


def test_no_class_word_tells_of_medical_or_satellite_pictures_and_of_others() -> None:
    special = domains()["medical"].words | domains()["satellite"].words
    others = domains()["natural"].words | domains()["products"].words
    assert special & others == set()
