"""Values of attributes as datasets write them."""

from __future__ import annotations

import pytest

from augment.prompts import PromptConfig
from augment.prompts.grid import combination_weights, value_meant


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("old town", "old town"),
        ("Old_Town ", "old town"),
        ("old-town", "old town"),
        ("Snow", None),  # it may be the one or the other
        ("snow", "snow"),
        ("SNOW", "SNOW"),
        ("snows", None),
        ("", None),
        ("_", None),
    ],
)
def test_a_value_is_known_by_its_name_however_it_is_written(said: str, meant: str | None) -> None:
    assert value_meant(["old town", "snow", "SNOW", "-"], said) == meant


def test_an_edit_differs_from_its_source_however_a_dataset_writes_the_value() -> None:
    places = [{"name": "snow", "text": "on snow"}, {"name": "old town", "text": "in an old town"}]
    config = PromptConfig.model_validate(
        {"templates": ["{class} {place}"], "attributes": {"place": places}, "differ_from_source": ["place"]}
    )
    assert combination_weights(config, "fox", {"place": "Old_Town"}).tolist() == [1.0, 0.0]
    assert combination_weights(config, "fox", {"place": "Snow"}).tolist() == [0.0, 1.0]
    assert combination_weights(config, "fox", {"place": "meadow"}).tolist() == [1.0, 1.0]
