"""Which words a prompt has: whole, the longest first, in any script; and which prompts that rules out."""

from __future__ import annotations

import pytest

from augment.prompts import PromptConfig
from augment.prompts.guards import Guards, Phrases, distinct


@pytest.mark.parametrize(
    ("phrases", "text", "found"),
    [
        (("dog", "hot dog"), "A hot dog and a DOG", ["hot dog", "dog"]),
        (("dog",), "a dogma, a watchdog and dogs", []),
        (("t-shirt", "red_footed_Albatross"), "a T-Shirt; a red-footed albatross", ["t shirt", "red footed albatross"]),
        (("ｆｏｘ",), "a fox", ["fox"]),
        (("狐狸", "狐"), "一只狐狸在雪地里", ["狐狸"]),
        (("狐狸", "owl"), "owl 和狐狸", ["owl", "狐狸"]),
        ((), "a fox", []),
        (("ม้า", "แมว"), "แมวเดินมาที่บ้าน", ["แมว"]),  # a cat comes home: no horse
        (("काला", "कली"), "एक कली", ["कली"]),
        (("C", "C++", "C#"), "the C# logo", ["c #"]),
        (("C", "C++", "C#"), "a letter C", ["c"]),
        (("🦊", "🦉"), "a 🦊️ beside a tree", ["🦊"]),
        (("salt & pepper",), "a Salt & Pepper set", ["salt & pepper"]),
    ],
)
def test_phrases_are_found_whole(phrases: tuple[str, ...], text: str, found: list[str]) -> None:
    assert Phrases(phrases).found(text) == found


@pytest.mark.parametrize(
    ("text", "name", "kind"),
    [
        ("a red fox in snow", "fox", None),
        ("a Crane on a lake", "crane", None),
        ("a construction crane at night", "construction_crane", None),
        ("a construction crane at night", "crane", "class word lost"),
        ("two foxes in snow", "fox", "class word lost"),
        ("a fox beside an owl", "fox", "another class"),
        ("a bloody fox", "fox", "blocklist"),
        ("  ", "fox", "empty"),
    ],
)
def test_a_prompt_has_its_class_word_and_no_other(text: str, name: str, kind: str | None) -> None:
    guards = Guards(("fox", "owl", "crane", "construction_crane"), ("bloody", "dead end"))
    refusal = guards.refusal(text, name)
    assert (refusal.kind if refusal else None) == kind


def test_prompts_of_scenes_name_no_class() -> None:
    guards = Guards(("fox", "owl"), names_class=False)
    assert guards.refusal("a scene at night", "fox") is None
    refusals = [guards.refusal(f"a scene with {name}", "fox") for name in ("fox", "owl")]
    assert [refusal.kind for refusal in refusals if refusal] == ["class named", "another class"]


def test_a_class_without_letters_is_looked_for_as_it_is() -> None:
    assert Guards(("--", "fox")).refusal("a picture of --", "--") is None
    refusal = Guards(("--", "fox")).refusal("a picture", "--")
    assert refusal is not None and refusal.kind == "class word lost"


def test_the_words_of_a_grid_are_looked_at_before_they_are_drawn() -> None:
    grid = PromptConfig.model_validate(
        {
            "templates": ["a {class} {place}", "a {class} beside an owl {place}"],
            "attributes": {"place": [{"name": "snow", "text": "on snow"}, {"name": "end", "text": "in a dead end"}]},
            "blocklist": ["dead end"],
        }
    )
    (first, warning), (second, error) = Guards(("fox", "owl"), grid.blocklist).findings(grid)
    assert (first, second) == (False, True)
    assert warning.startswith("templates.1: ") and "has the class word 'owl'" in warning
    assert error.startswith("attributes.place.end: 'in a dead end' has 'dead end', which blocklist rules out")
    assert [is_error for is_error, _ in Guards(("owl",)).findings(grid)] == []  # no other class could be taken for it


def test_texts_are_one_whatever_their_case_and_spaces() -> None:
    assert distinct(["a fox", "an owl", "A  Fox", "a fox!"]) == ["a fox", "an owl", "a fox!"]
