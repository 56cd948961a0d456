"""Prompts that are cut: found without planning a million of them, and refused where the class is lost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from augment.prompts import PromptConfig
from augment.prompts.lengths import MAX_CAPTIONS, cut_prompt, cut_prompts, length_findings, too_long
from augment.types import Source


@dataclass
class Words:
    """An encoder whose tokens are words, between one that begins and one that ends the text."""

    name: str
    length: int
    counted: int = 0

    def count(self, text: str) -> int:
        self.counted += 1
        return len(text.split()) + 2

    def read(self, text: str) -> str:
        words = text.split()
        return text if self.count(text) <= self.length else " ".join(words[: self.length - 2])


def config(*templates: str, **more: Any) -> PromptConfig:
    places = [{"name": "snow", "text": "on snow"}, {"name": "beach", "text": "on a very long and sandy beach"}]
    grid = {"templates": templates, "source_template": "{class}", "attributes": {"place": places}}
    return PromptConfig.model_validate(grid | more)


SOURCES = [
    Source(f"{name}/{i}", f"/{name}/{i}.png", 1, label, name)
    for label, name in enumerate(("fox", "red_owl"))
    for i in range(50)
]


def test_where_the_longest_fits_nothing_is_planned() -> None:
    reader = Words("one", 2 + 2 + 7 + 2 * 2)  # tokens at the ends, "red owl", the beach, and two to spare per field
    assert cut_prompts(config("{class} {place}"), SOURCES, 4, 0, [reader]) == ([], 0)
    assert reader.counted < 10


def test_the_longest_word_tells_which_templates_are_too_long_for_some_class() -> None:
    names = [f"owl_{i}" for i in range(100)] + ["red_owl_of_snow"]
    reader = Words("one", 2 + 4 + 2)  # tokens at the ends, the longest word, and two to spare
    assert too_long(["{class}", "a {class}", "{class} {place}"], names, reader, {}) == ["a {class}", "{class} {place}"]
    assert reader.counted == len(names) + 3


def test_other_words_than_the_class_are_a_warning() -> None:
    reader = Words("one", 8)
    cut, counted = cut_prompts(config("a {class} {place}"), SOURCES, 2, 0, [reader])
    assert counted == 2 * 2 + 2  # each class on snow and at the beach, and its source prompt
    assert {(c.text, c.read["one"], c.lost_class) for c in cut} == {
        ("a fox on a very long and sandy beach", "a fox on a very long", ""),
        ("a red owl on a very long and sandy beach", "a red owl on a very", ""),
    }
    errors, (warning,) = length_findings(cut, counted, [reader])
    assert errors == []
    assert warning.startswith("2 of 6 prompts are longer than the model reads (one: 8 tokens)")
    assert "the words 'and sandy beach' are lost" in warning or "the words 'long and sandy beach' are lost" in warning


def test_a_class_that_no_encoder_reads_is_a_problem() -> None:
    template = "a very detailed photograph at noon, {a_class} {place}"
    readers = [Words("one", 8), Words("two", 9)]
    cut, counted = cut_prompts(config(template), SOURCES, 2, 0, readers)
    (error,), _ = length_findings(cut, counted, readers)
    # `two` reads seven words, which "a fox" ends within neither.
    assert error.startswith("4 of 6 prompts lose their class")
    assert "(one: 8 tokens, two: 9 tokens)" in error
    assert "Put {a_class} to the front" in error
    longer = [Words("one", 8), Words("two", 99)]
    cut, counted = cut_prompts(config(template), SOURCES, 2, 0, longer)
    errors, (warning,) = length_findings(cut, counted, longer)
    assert errors == []
    assert "two: 99 tokens reads all of it" in warning


@pytest.mark.parametrize(
    ("length", "lost"),
    [(4, "red fox"), (5, ""), (99, "")],
)
def test_a_class_counts_as_read_when_its_whole_word_is(length: int, lost: str) -> None:
    found = cut_prompt("Red fox at sea", "red_fox", [Words("one", length - 1)])
    assert ("" if found is None else found.lost_class) == lost


def test_a_short_class_is_not_read_because_a_longer_word_has_its_letters() -> None:
    found = cut_prompt("an elegant hall around an ant", "ant", [Words("one", 5)])
    assert found is not None and found.lost_class == "ant"


def test_a_prompt_that_never_names_the_class_cannot_lose_it() -> None:
    cut = cut_prompt("something on a long beach", "red_fox", [Words("one", 4)])
    assert cut is not None
    assert cut.lost_class == ""


def test_classes_without_a_combination_are_left_to_others() -> None:
    none_left = config("{class} {place}", overrides={"fox": {"place": {"snow": 0, "beach": 0}}})
    cut, _ = cut_prompts(none_left, SOURCES, 2, 0, [Words("one", 5)])
    assert {c.text.split()[0] for c in cut} == {"red"}


def test_captions_are_counted_too_the_longest_first() -> None:
    captioned = [Source(f"{i}", f"{i}.png", 1, 0, "fox", "word " * (i % 40) + f"n{i}") for i in range(2_000)]
    reader = Words("one", 39)
    cut, counted = cut_prompts(config("{class}", attributes={}), captioned, 1, 0, [reader])
    assert counted == MAX_CAPTIONS
    assert len(cut) == 3 * 50  # those of 37, 38 and 39 words before the last
    assert {c.lost_class for c in cut} == {""}
    assert cut_prompts(config("{class}", attributes={}), [], 1, 0, [reader]) == ([], 0)
