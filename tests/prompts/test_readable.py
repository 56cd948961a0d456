"""Class names as datasets write them, and the words in them."""

from __future__ import annotations

import pytest

from augment.prompts.readable import readable_word
from augment.prompts.words import is_code


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("n02099601_golden_retriever", "golden retriever"),
        ("n02099601-golden_retriever", "golden retriever"),
        ("n01440764_tench,_Tinca_tinca", "tench"),
        ("001.Black_footed_Albatross", "Black footed Albatross"),
        ("0_desk lamp", "desk lamp"),
        ("red_fox", "red fox"),
        ("fire-truck", "fire truck"),
        ("GoldenRetriever", "golden retriever"),
        ("redFox", "red fox"),
        ("BMWCar", "BMW car"),
        ("USBStick", "USB stick"),
        ("Model3Car", "model3 car"),
        ("2012Tesla", "2012 tesla"),
        # What looks like a case or a number and is part of a name stays.
        ("iPhone", "iPhone"),
        ("TShirt", "TShirt"),
        ("McDonald", "McDonald"),
        ("t-shirt", "t-shirt"),
        ("x-ray", "x-ray"),
        ("Boeing_747-400", "Boeing 747-400"),
        # Other languages, with their capitals
        ("Rotfuchs", "Rotfuchs"),
        ("Deutscher_Schäferhund", "Deutscher Schäferhund"),
        ("GrünerLeguan", "Grüner Leguan"),
        ("金毛犬", "金毛犬"),
        ("золотая_рыбка", "золотая рыбка"),
        # Nothing but codes and numbers
        ("n01440764", "n01440764"),
        ("17", "17"),
        ("class_3", "class_3"),
        ("_", "_"),
    ],
)
def test_words(name: str, word: str) -> None:
    assert readable_word(name) == word
    assert readable_word(word) == word


def test_codes() -> None:
    assert [
        name for name in ("n01440764", "17", "class_3", "fox", "n01440764_tench", "3d printer") if is_code(name)
    ] == [
        "n01440764",
        "17",
        "class_3",
    ]
