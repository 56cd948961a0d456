"""Words for classes: which names are one word, and which are no words."""

from __future__ import annotations

import pytest

from augment.prompts.words import distinct_words, word_findings, word_key


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Red_fox", "red  fox"),
        ("caf\u00e9", "cafe\u0301"),  # composed and decomposed
        ("\uff46\uff4f\uff58", "fox"),  # full-width letters
        ("STRASSE", "stra\u00dfe"),
        (" fox", "fox_"),
    ],
)
def test_names_that_are_one_word(one: str, other: str) -> None:
    assert word_key(one) == word_key(other)


def test_names_that_are_two_words() -> None:
    assert len({word_key(name) for name in ("fox", "foxes", "red fox", "redfox", "f\u00f3x")}) == 5


def test_distinct_words_keep_the_order_of_labels() -> None:
    names = {7: "Fox", 2: "owl", 9: "fox", 4: "bus", 5: "OWL"}
    assert distinct_words(names) == (["owl", "bus", "Fox"], {2: 0, 4: 1, 5: 0, 7: 2, 9: 2})


@pytest.mark.parametrize(
    ("names", "parts"),
    [
        (["fox", "owl", "Fox"], ["2 labels share their word", "the labels 0, 2 are 'fox'", "input.class_names"]),
        (["n01440764", "fox"], ["1 class name(s) that are codes or numbers", "'n01440764'", "{'n01440764': fox, ...}"]),
        (["0", "1", "10"], ["3 class name(s) that are codes or numbers", "'0', '1', '10'"]),
        (["class_1", "c0", "label 7"], ["3 class name(s) that are codes"]),
        (["3f2a9c0d11", "owl"], ["'3f2a9c0d11'"]),
        (
            ["001.Black_footed_Albatross", "owl"],
            ["1 class name(s) with a number in front", "001.Black_footed_Albatross"],
        ),
        (["train", "val"], ["'train', 'val' look like parts of a dataset", "the folder 'train'"]),
        (["Training", "Test", "fox"], ["'Test', 'Training' look like parts of a dataset"]),
        (["images", "fox"], ["'images' look like parts"]),
        (["train"], ["'train' look like parts"]),
        (["{class}", "owl"], ["1 class name(s) with braces", "'{class}'"]),
    ],
)
def test_what_is_no_word_is_pointed_out(names: list[str], parts: list[str]) -> None:
    (finding,) = word_findings(dict(enumerate(names)))
    for part in parts:
        assert part in finding


@pytest.mark.parametrize(
    "names",
    [
        ["fox", "owl", "red fox"],
        ["train", "bus", "boat"],  # a train is a class of CIFAR-100 and of Pascal VOC
        ["test tube", "trainer", "image stabiliser"],
        ["7up", "Boeing 747", "B-52", "C-130", "A4", "\u65e5\u672c", "decade", "facade", "4x4"],
        ["cat", "label", "type a"],
    ],
)
def test_words_are_left_alone(names: list[str]) -> None:
    assert list(word_findings(dict(enumerate(names)))) == []
