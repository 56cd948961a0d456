"""Values written into YAML that a person wrote: these values change, and not a byte besides."""

from __future__ import annotations

import pytest

from augment.config import with_values
from augment.config.load import parse_mapping
from augment.errors import ConfigError

TUNED = {"strength": 0.6, "guidance_scale": 4.5}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            "# job\nediting: # how\n  # share\n  strength: 0.7  # was 0.5\n  guidance_scale: 3.0\n\nseed: 0\n",
            "# job\nediting: # how\n  # share\n  strength: 0.6  # was 0.5\n  guidance_scale: 4.5\n\nseed: 0\n",
        ),
        (  # one is there, one is not; the indentation of the section
            "editing:\n    # steps\n    num_steps: 10\n    strength: .7\nseed: 0",
            "editing:\n    guidance_scale: 4.5\n    # steps\n    num_steps: 10\n    strength: 0.6\nseed: 0",
        ),
        (  # no section: appended, also behind a last line without an end
            "seed: 0 # the last line",
            "seed: 0 # the last line\nediting:\n  strength: 0.6\n  guidance_scale: 4.5\n",
        ),
        (  # a key that an extended file has is overridden here
            "extends: base.yaml\nediting:\n  sampler: ddim\n",
            "extends: base.yaml\nediting:\n  strength: 0.6\n  guidance_scale: 4.5\n  sampler: ddim\n",
        ),
        (  # flow style where both are there already
            "editing: {strength: 0.7, guidance_scale: 3, solver: {name: ddim}}\n",
            "editing: {strength: 0.6, guidance_scale: 4.5, solver: {name: ddim}}\n",
        ),
        (  # ends of lines as on Windows, a byte order mark, text that is not ASCII
            '\ufeff# Füchse\r\n"editing":\r\n  strength: "0.7" # ü\r\n',
            '\ufeff# Füchse\r\n"editing":\r\n  guidance_scale: 4.5\r\n  strength: 0.6 # ü\r\n',
        ),
        (  # the same key elsewhere
            "a:\n  strength: 1\nediting:\n  strength: 0.7\n  guidance_scale: 2\nb: {strength: 2}\n",
            "a:\n  strength: 1\nediting:\n  strength: 0.6\n  guidance_scale: 4.5\nb: {strength: 2}\n",
        ),
    ],
)
def test_only_the_values_change(before: str, after: str) -> None:
    assert with_values(before, "job.yaml", "editing", TUNED) == after
    assert with_values(after, "job.yaml", "editing", TUNED) == after
    held = parse_mapping(before, "job.yaml")
    expected = {**held, "editing": {**held.get("editing", {}), **TUNED}}
    assert parse_mapping(after, "job.yaml") == expected


def test_an_equal_number_stays_as_it_is_written() -> None:
    text = "editing:\n  strength: 6.0e-1\n  guidance_scale: 3\n"
    assert with_values(text, "job.yaml", "editing", {"strength": 0.6, "guidance_scale": 3.0}) == text


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("editing: {strength: 0.7}\n", "editing is in flow style"),
        ("{editing: {num_steps: 3}, seed: 0}\n", "the file is in flow style"),
        ("share: &s 0.7\nediting:\n  strength: *s\n  guidance_scale: 3\n", "other values would change too"),
        ("editing: &e\n  strength: 0.7\n  guidance_scale: 3\nother: *e\n", "other values would change too"),
        ("base: &e\n  strength: 0.7\nediting: *e\n", "other values would change too"),
        ("seed: 0\n...\n", "would not be YAML"),
        ("? editing\n: strength: 0.7\n", "would not be YAML"),
        ("editing: 3\n", "editing is no mapping"),
    ],
)
def test_what_cannot_be_edited_safely_is_refused(text: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why) as refused:
        with_values(text, "job.yaml", "editing", TUNED)
    assert str(refused.value).startswith("1 problem in job.yaml:")
    assert str(refused.value).endswith("editing.guidance_scale: 4.5 by hand")


def test_what_is_no_yaml_is_an_error_with_its_line() -> None:
    with pytest.raises(ConfigError, match=r"job\.yaml:2: not valid YAML"):
        with_values("a: 1\n b: 2\n", "job.yaml", "editing", TUNED)
