from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from augment.prompts import PromptConfig
from augment.prompts.grid import combination_weights

GRID: dict[str, Any] = {
    "templates": ["{class} {place} {time}"],
    "attributes": {
        "place": [{"name": "snow", "text": "on snow"}, {"name": "sea", "text": "at sea", "weight": 3}],
        "time": [{"name": "day", "text": ""}, {"name": "night", "text": "at night", "weight": 0.5}],
    },
}


def weights(source: dict[str, str] | None = None, class_name: str = "fox", **changes: Any) -> list[list[float]]:
    config = PromptConfig.model_validate(GRID | changes)
    return combination_weights(config, class_name, source or {}).tolist()


def test_a_combination_weighs_the_product_of_its_values() -> None:
    assert weights() == [[1.0, 0.5], [3.0, 1.5]]


def test_prompts_of_the_scene_only_need_no_class() -> None:
    words = {"templates": ["something {place} {time}"], "source_template": "something {place}", "scene_only": True}
    assert weights(**words) == weights()


def test_overrides_hold_for_their_class_only() -> None:
    overrides = {"fox": {"place": {"sea": 0}, "time": {"night": 4}}}
    assert weights(overrides=overrides) == [[1.0, 4.0], [0.0, 0.0]]
    assert weights(overrides=overrides, class_name="owl") == [[1.0, 0.5], [3.0, 1.5]]


def test_exclusions() -> None:
    exclude = [{"class": "fox", "place": "sea"}, {"place": "snow", "time": "night"}]
    assert weights(exclude=exclude) == [[1.0, 0.0], [0.0, 0.0]]
    assert weights(exclude=exclude, class_name="owl") == [[1.0, 0.0], [3.0, 1.5]]


def test_an_edit_differs_from_what_is_known_of_its_source() -> None:
    both = {"differ_from_source": ["place", "time"]}
    assert weights({"place": "snow"}, **both) == [[0.0, 0.0], [3.0, 1.5]]
    assert weights({"place": "snow", "time": "night"}, **both) == [[0.0, 0.0], [3.0, 0.0]]
    assert weights({"place": "a place not in the grid"}, **both) == [[1.0, 0.5], [3.0, 1.5]]
    assert weights({"time": "day"}, differ_from_source=["place"]) == [[1.0, 0.5], [3.0, 1.5]]


def test_a_grid_without_attributes_has_one_combination() -> None:
    config = PromptConfig(templates=("{class}",))
    assert combination_weights(config, "fox", {}) == np.ones(())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"templates": []}, "there are no prompts: give templates, lines, or a column"),
        ({"templates": ["a picture {place}"]}, "has neither {class} nor {a_class}"),
        ({"templates": ["{class} {plaice}"]}, "unknown field 'plaice' (known: class, a_class, place, time)"),
        ({"templates": ["{class"]}, "template '{class': "),
        ({"source_template": "a picture"}, "template 'a picture' has neither"),
        ({"scene_only": True}, "template '{class} {place} {time}' names the class, and scene_only says"),
        ({"attributes": {"place": []}}, "attributes.place: has no values"),
        ({"attributes": {"class": [{"name": "a", "text": "a"}]}}, "'class' cannot be the name of an attribute"),
        (
            {"attributes": {"a": [{"name": "b", "text": "1"}, {"name": "b", "text": "2"}]}},
            "attributes.a: 'b' is given twice",
        ),
        (
            {"overrides": {"fox": {"plaice": {"sea": 1}}}},
            "overrides.fox: unknown attribute 'plaice' (known: place, time)",
        ),
        ({"overrides": {"fox": {"place": {"see": 1}}}}, "overrides.fox: place has no value 'see' (known: snow, sea)"),
        ({"overrides": {"fox": {"place": {"sea": -1}}}}, "overrides.fox.place.sea: weight -1.0 is not >= 0"),
        ({"exclude": [{}]}, "exclude.0: is empty"),
        ({"exclude": [{"class": "fox", "place": "see"}]}, "exclude.0: place has no value 'see'"),
        ({"differ_from_source": ["plaice"]}, "differ_from_source: unknown attribute 'plaice'"),
        (
            {"attributes": {c: [{"name": str(i), "text": ""} for i in range(101)] for c in "abc"}},
            "1030301 combinations",
        ),
        ({"attributes": {"a": [{"name": "b", "text": "", "weight": 0}]}}, "greater than 0"),
    ],
)
def test_what_cannot_be_meant_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        PromptConfig.model_validate(GRID | changes)
    assert message in str(caught.value)


def test_all_problems_are_reported_at_once() -> None:
    with pytest.raises(ValidationError) as caught:
        PromptConfig.model_validate(GRID | {"templates": ["x"], "differ_from_source": ["y"], "exclude": [{}]})
    problems = str(caught.value)
    assert problems.count("; ") == 4
    assert "attributes.place: no template has {place}" in problems and "attributes.time: no template" in problems


def test_two_values_with_one_text_are_refused() -> None:
    places = [{"name": "snow", "text": "in snow"}, {"name": "white", "text": "in snow"}]
    with pytest.raises(ValidationError, match=r"attributes.place: two values have the text 'in snow'"):
        PromptConfig.model_validate(GRID | {"attributes": GRID["attributes"] | {"place": places}})
