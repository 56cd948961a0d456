"""What of an answer becomes a caption."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from augment.prompts import PromptConfig
from augment.prompts.captioner import INSTRUCTIONS, SCENE_INSTRUCTIONS, CaptionerConfig
from augment.prompts.captions import Caption, caption_of, sentences_of
from augment.prompts.guards import Guards

GUARDS = Guards(("fox", "owl"), blocklist=("logo",))
TEMPLATES = {"templates": ["a {class}"]}


class Words:
    """Reads so many words."""

    name = "words"

    def __init__(self, length: int) -> None:
        self.length = length

    def count(self, text: str) -> int:
        return len(text.split())

    def read(self, text: str) -> str:
        return " ".join(text.split()[: self.length])


def caption(answer: str, words: int = 99, is_cut: bool = False, guards: Guards = GUARDS) -> Caption:
    return caption_of(answer, "fox", guards, [Words(words)], is_cut=is_cut)


def kind(answer: str, words: int = 99, is_cut: bool = False, guards: Guards = GUARDS) -> str:
    found = caption(answer, words, is_cut, guards)
    assert (found.text == "") == (found.refusal is not None)
    return found.refusal.kind if found.refusal else ""


def test_a_caption_is_one_line_without_quotes() -> None:
    assert caption(' "A red  fox\non snow." ') == Caption("A red fox on snow.")
    assert caption("A red fox on snow") == Caption("A red fox on snow")


def test_whole_sentences_are_kept_as_many_as_are_read() -> None:
    answer = "A fox on snow. It is night. Trees behind it"
    assert caption(answer, 10) == Caption(answer)
    assert caption(answer, 9) == Caption("A fox on snow. It is night.", None, True)
    assert caption(answer, 4) == Caption("A fox on snow.", None, True)
    assert kind(answer, 3) == "too long"
    assert caption(answer, 99, is_cut=True) == Caption("A fox on snow. It is night.", None, True)
    assert caption("A fox on snow.", is_cut=True) == Caption("A fox on snow.")
    assert kind("A fox on", is_cut=True) == "cut"


def test_the_words_must_be_in_the_sentences_that_are_kept() -> None:
    assert kind("It is night here. A fox on snow.", 4) == "class word lost"
    assert kind("It is night here. A fox on snow.") == ""
    assert kind("A fox on snow. An owl in a tree.", 4) == ""
    assert kind("A fox on snow. An owl in a tree.") == "another class"


@pytest.mark.parametrize(
    ("answer", "expected"),
    [("", "empty"), (" \n", "empty"), ("a dog", "class word lost"), ("a fox and its logo", "blocklist")],
)
def test_what_is_refused(answer: str, expected: str) -> None:
    assert kind(answer) == expected


def test_a_caption_of_a_scene_names_no_class() -> None:
    scene = Guards(("fox", "owl"), names_class=False)
    assert kind("a fox on snow", guards=scene) == "class named"
    assert kind("snow at night", guards=scene) == ""


def test_sentences() -> None:
    assert sentences_of("A fox. At 3.5 m! Is it? yes") == ["A fox.", "At 3.5 m!", "Is it?", "yes"]
    assert sentences_of("雪の上の狐。夜。") == ["雪の上の狐。", "夜。"]
    assert sentences_of("") == []


def test_what_a_model_is_told() -> None:
    plain = CaptionerConfig(model="m")
    assert plain.told("red_fox", chats=True, scene_only=False)[0].endswith(
        "It shows a red fox, which you call red fox."
    )
    assert plain.told("fox", chats=True, scene_only=True) == (SCENE_INSTRUCTIONS, "")
    assert plain.told("fox", chats=False, scene_only=False) == ("", "")
    own = CaptionerConfig(model="m", instructions="Say {class}.", prefix="a photo of {a_class}")
    assert own.told("owl", chats=False, scene_only=False) == ("Say owl.", "a photo of an owl")
    assert "{class}" in INSTRUCTIONS


def test_it_is_part_of_the_identity() -> None:
    def identity(**changes: object) -> dict[str, object]:
        return PromptConfig.model_validate(TEMPLATES | {"caption": {"model": "m"} | changes}).identity()

    assert "caption" not in PromptConfig.model_validate(TEMPLATES).identity()
    assert identity() != identity(prefix="a {class}") != identity(max_tokens=3)
    assert identity() == identity(device="cuda")


@pytest.mark.parametrize("changes", [{"prefix": "a {clas}"}, {"instructions": "Say {}"}, {"max_tokens": 0}])
def test_settings_that_cannot_be(changes: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        CaptionerConfig.model_validate({"model": "m"} | changes)


def test_prompts_of_a_scene_have_no_captions_that_name_the_class() -> None:
    scene = {"templates": ["snow"], "source_template": "a picture", "scene_only": True}
    PromptConfig.model_validate(scene | {"caption": {"model": "m", "instructions": "Say where."}})
    with pytest.raises(ValidationError, match="caption: its texts name the class"):
        PromptConfig.model_validate(scene | {"caption": {"model": "m", "prefix": "a {class}"}})
