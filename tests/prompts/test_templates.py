from __future__ import annotations

import pytest

from augment.prompts.templates import fields_of, fill, with_article


@pytest.mark.parametrize(
    ("noun", "expected"),
    [
        ("fox", "a fox"),
        ("owl", "an owl"),
        ("Elephant", "an Elephant"),
        ("unicycle", "a unicycle"),
        ("uninhabited island", "an uninhabited island"),
        ("European bison", "a European bison"),
        ("hourglass", "an hourglass"),
        ("house", "a house"),
        ("onion", "an onion"),
    ],
)
def test_with_article(noun: str, expected: str) -> None:
    assert with_article(noun) == expected


def test_fields_of() -> None:
    assert fields_of("a {class}, {time} {{sic}} {class}") == ["class", "time", "class"]


@pytest.mark.parametrize("template", ["{}", "{0}", "{class!r}", "{class:>9}", "{a.b}", "{a", "a}"])
def test_fields_of_refuses_what_is_not_a_plain_name(template: str) -> None:
    with pytest.raises(ValueError, match="template"):
        fields_of(template)


@pytest.mark.parametrize(
    ("template", "texts", "expected"),
    [
        (
            "a picture of {a_class} {place} {time}",
            {"place": "on snow", "time": "at night"},
            "a picture of an owl on snow at night",
        ),
        ("a picture of {a_class} {place} {time}", {"place": "", "time": "at night"}, "a picture of an owl at night"),
        ("{a_class}, {place}, {time}", {"place": "snow"}, "an owl, snow"),
        ("{a_class}, {place}, {time}", {"time": "night"}, "an owl, night"),
        ("{place}, {class}.", {}, "owl."),
        ("{class} {place}", {"place": "by {class} {{x}}"}, "owl by {class} {{x}}"),
    ],
)
def test_fill(template: str, texts: dict[str, str], expected: str) -> None:
    assert fill(template, "owl", texts) == expected


@pytest.mark.parametrize("name", [".22_rifle", ".NET logo", "st. bernard", "who, me?"])
def test_a_class_word_is_left_as_it_is(name: str) -> None:
    word = name.replace("_", " ")
    assert fill("{a_class} {place}, {class}", name, {}) == f"a {word}, {word}"


def test_underscores_of_a_folder_name_become_spaces() -> None:
    assert fill("{a_class} and {class}", "golden_retriever", {}) == "a golden retriever and golden retriever"
