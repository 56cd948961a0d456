"""Files of prompts: what a line is for, and what is said of lines that cannot be prompts."""

from __future__ import annotations

from pathlib import Path

import pytest

from augment.errors import ConfigError
from augment.prompts.lines import parse_lines, unknown_headings
from augment.run.prompt_file import load_prompts

TEXT = """\ufeff# for all
a photo of {a_class} in a forest

  {a_class} at night
[red fox]
a red fox in deep snow
[owl]
an owl on a branch
[red fox]
a red fox, asleep
"""


def test_a_line_is_for_the_class_above_it_or_for_all() -> None:
    assert parse_lines(TEXT, "p.txt") == {
        "*": ("a photo of {a_class} in a forest", "{a_class} at night"),
        "red fox": ("a red fox in deep snow", "a red fox, asleep"),
        "owl": ("an owl on a branch",),
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a fox\n{a_class} {place}\n", "p.txt:2: '{a_class} {place}' has an unknown field 'place'"),
        ("a {class\n", "p.txt:1: template 'a {class'"),
        ("# nothing\n\n[fox]\n", "p.txt: has no prompt"),
    ],
)
def test_lines_that_are_no_prompts_are_named(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_lines(text, "p.txt")
    assert message in caught.value.problems[0]


def test_a_heading_that_is_no_class_has_a_nearest_one() -> None:
    (text,) = unknown_headings({"*": (), "fox": (), "owel": ()}, {"fox", "owl"})
    assert text.startswith("lines: [owel] is no class of the dataset; did you mean 'owl'?")
    (text,) = unknown_headings({"plane": (), "Red fox": ()}, {"red_fox"})
    assert text == "lines: [plane] is no class of the dataset. Classes are red_fox"


def test_a_file_is_named_by_the_config_or_by_the_prompts(tmp_path: Path) -> None:
    (tmp_path / "lines.txt").write_text("{a_class} in snow\n")
    (tmp_path / "prompts.yaml").write_text("lines: lines.txt\nsource_template: '{class}'\n")
    of_yaml = load_prompts(tmp_path / "prompts.yaml")
    assert of_yaml.lines == {"*": ("{a_class} in snow",)}
    of_text = load_prompts(tmp_path / "lines.txt")
    assert of_text == of_yaml.model_copy(update={"source_template": "a picture of {a_class}"})
    (tmp_path / "prompts.yaml").write_text("lines: {fox: [a fox in snow], '*': ['{a_class}']}\n")
    assert load_prompts(tmp_path / "prompts.yaml").lines == {"fox": ("a fox in snow",), "*": ("{a_class}",)}


@pytest.mark.parametrize(
    ("yaml", "message"),
    [
        ("lines: nothing.txt\n", "nothing.txt: no such file; it is named by prompts.lines"),
        ("lines: {fox: ['a {place}']}\n", "has an unknown field 'place'"),
        ("lines: {fox: []}\n", "there is no prompt"),
        ("lines: {fox: [a fox]}\ntemplates: ['{class}']\n", "templates and lines are two sources"),
        ("source_template: '{class}'\n", "there are no prompts: give templates, lines, or a column"),
        ("column: text\nattributes: {place: [{name: snow, text: snow}]}\n", "attributes have no template"),
        ("templates: ['{class}']\nblocklist: ['!']\n", "blocklist: '!' has no letter"),
    ],
)
def test_configs_without_usable_prompts_are_refused(tmp_path: Path, yaml: str, message: str) -> None:
    (tmp_path / "prompts.yaml").write_text(yaml)
    with pytest.raises(ConfigError) as caught:
        load_prompts(tmp_path / "prompts.yaml")
    assert message in str(caught.value)
