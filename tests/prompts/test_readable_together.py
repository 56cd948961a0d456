"""Names of classes that cleaning would make one word stay apart."""

from __future__ import annotations

import pytest

from augment.inputs.class_words import without_numbers
from augment.prompts.readable import readable_words


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (
            ["Pepper,_bell___Bacterial_spot", "Pepper,_bell___healthy", "Tomato___healthy", "tench,_Tinca_tinca"],
            ["Pepper, bell Bacterial spot", "Pepper, bell healthy", "Tomato healthy", "tench"],
        ),
        (["1-euro", "2-euro", "50-cent"], ["1-euro", "2-euro", "cent"]),
        (["001.Sooty_Albatross", "002.Groove_billed_Ani"], ["Sooty Albatross", "Groove billed Ani"]),
        # Only the code differs, which is no word: a warning says that two labels have one word.
        (["n02012849_crane", "n03126707_crane"], ["crane", "crane"]),
        (["n02012849_crane,_bird", "n03126707_crane,_machine"], ["crane, bird", "crane, machine"]),
    ],
)
def test_what_cleaning_would_merge_loses_its_underscores_only(names: list[str], words: list[str]) -> None:
    assert readable_words(dict(enumerate(names))) == dict(enumerate(words))


def test_numbers_that_tell_classes_apart_are_part_of_the_words() -> None:
    coins = {0: "1-euro", 1: "2-euro"}
    assert without_numbers(coins) == coins
    assert without_numbers({0: "1-Euro", 1: "2-euro"}) == {0: "1-Euro", 1: "2-euro"}
    assert without_numbers({0: "001.Albatross", 1: "002.Ani"}) == {0: "Albatross", 1: "Ani"}
