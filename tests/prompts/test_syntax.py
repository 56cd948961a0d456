"""Other programs' syntax in prompts is found, and plain punctuation is not taken for it."""

from __future__ import annotations

from typing import Any

import pytest

from augment.prompts import PromptConfig
from augment.prompts.syntax import syntax_findings


def findings(template: str = "a picture of {a_class} {place}", text: str = "on snow") -> list[str]:
    templates = [template] if "{place}" in template else [template, "{class} {place}"]
    grid: dict[str, Any] = {"templates": templates, "attributes": {"place": [{"name": "snow", "text": text}]}}
    return list(syntax_findings(PromptConfig.model_validate(grid)))


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ("({class}:1.4) in snow", "({class}:1.4)"),
        ("({class} : 0.8)", "({class} : 0.8)"),
        ("(({class}))", "(({class}))"),
        ("[{class}] in snow", "[{class}]"),
        ("[{class}:owl:0.5]", "[{class}:owl:0.5]"),
        ("{class} snow++ sky", "w++"),
        ("{class} snow-- sky", "w--"),
        ("(red {class})1.3", ")1.3"),
        ("{class} <lora:snow:0.7>", "<lora:snow:0.7>"),
        ("{class} --ar 16:9", "--ar"),
    ],
)
def test_weights_in_templates(words: str, shown: str) -> None:
    (finding,) = findings(template=words)
    assert finding.startswith(f"templates.0: {words!r} has the syntax of weights, {shown!r}")


@pytest.mark.parametrize("text", ["on {snow}", "on snow}", "{class} on snow"])
def test_braces_in_attributes(text: str) -> None:
    (finding,) = findings(text=text)
    assert finding.startswith(f"attributes.place.snow: {text!r} has braces")


def test_weights_in_attributes() -> None:
    (finding,) = findings(text="on (snow:1.2)")
    assert finding.startswith("attributes.place.snow: 'on (snow:1.2)' has the syntax of weights, '(snow:1.2)'")


@pytest.mark.parametrize(
    "words",
    [
        "a {class} (a kind of animal) on snow",
        "{a_class} - a photograph, 4:3, f/2.8 (1990)",
        "a well-lit {class}, black-and-white",
        "{{literal}} {a_class}",
        "{class} at 7:30 (morning)",
        "{class} \u2014 on snow; a + b",
    ],
)
def test_plain_punctuation_is_left_alone(words: str) -> None:
    assert findings(template=words) == []
