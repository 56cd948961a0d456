"""Classes that are called as folders of splits are."""

from __future__ import annotations

import pytest

from augment.prompts.words import word_findings


def findings(*names: str) -> list[str]:
    return [text for text in word_findings(dict(enumerate(names))) if "look like parts of a dataset" in text]


@pytest.mark.parametrize(
    "names",
    [
        ("training_set", "test_set"),
        ("train2017", "val2017"),
        ("seg_pred", "seg_test", "seg_train"),
        ("seg pred", "seg test", "seg train"),  # as class words are cleaned
        ("train", "val", "test", "extra"),
        ("train", "test", "fox"),
        ("Train images", "Validation images"),
    ],
)
def test_names_of_splits(names: tuple[str, ...]) -> None:
    (text,) = findings(*names)
    assert f"{sorted(n for n in names if n not in ('extra', 'fox'))[0]!r}" in text


@pytest.mark.parametrize(
    "names",
    [
        ("train", "boat", "bus"),
        ("train 1", "train 2", "boat"),
        ("training shoe", "test_tube", "valley"),
        ("steam_train", "blood_test", "owl"),
        ("steam train", "freight train"),
        ("validator", "tester", "trained dog"),
    ],
)
def test_names_of_things(names: tuple[str, ...]) -> None:
    assert findings(*names) == []
