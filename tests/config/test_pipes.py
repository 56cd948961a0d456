"""Configs from a named pipe, which can be read once: `<(...)` of a shell."""

from __future__ import annotations

import os
from pathlib import Path
from threading import Thread

import pytest

from augment.config import load_config, places
from augment.config.load import origins_of
from augment.prompts import PromptConfig
from augment.run.config import ExpandConfig, load_expand_config
from augment.run.interpolate import load_interpolate_config

JOB = "input: {path: photos, format: imagefolder, image_size: 64}\n"
OUTPUTS = {load_expand_config: "output: {path: out}\n", load_interpolate_config: "output: out\n"}


@pytest.fixture
def pipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A pipe; who opens a second time what was read is told so, where a pipe would keep them waiting."""

    def read_again(*_: object) -> None:
        raise AssertionError("the config is read a second time")

    monkeypatch.setattr(places, "origins_of", read_again)
    os.mkfifo(tmp_path / "pipe")
    return tmp_path / "pipe"


@pytest.mark.parametrize("load", OUTPUTS)
@pytest.mark.parametrize("prompts", ["prompts.yaml", "/somewhere/prompts.yaml", "{lines: lines.txt}"])
def test_a_config_is_read_once(pipe: Path, load, prompts: str) -> None:  # type: ignore[no-untyped-def]
    text = f"{JOB}{OUTPUTS[load]}prompts: {prompts}\n"
    writer = Thread(target=pipe.write_text, args=(text,), daemon=True)
    writer.start()
    found = load(pipe).prompts
    writer.join(60)
    if isinstance(found, PromptConfig):
        found = found.lines
    wanted = {"prompts.yaml": "prompts.yaml", "{lines: lines.txt}": "lines.txt"}.get(prompts)
    assert found == (pipe.parent / wanted if wanted else Path(prompts))


def test_where_keys_are_said_is_noted(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(f"{JOB}output: {{path: out}}\n")
    path = tmp_path / "job.yaml"
    path.write_text("extends: base.yaml\nprompts: a.yaml\n")
    overrides = ["seed=3"]
    origins: dict[tuple[str | int, ...], str] = {}
    load_config(path, ExpandConfig, overrides, origins=origins)
    assert origins == origins_of(path, overrides)
    assert origins["seed",] == "-o seed=3"
