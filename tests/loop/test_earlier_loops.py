"""Folders of loops that an earlier version began: they go on."""

from __future__ import annotations

import json
from pathlib import Path

from augment.loop.rounds import LoopFolder
from augment.run.prompt_file import load_prompts
from tests.loop.toy_loop import toy_loop


def test_settings_from_before_there_was_a_revision_of_the_scorer(tmp_path: Path) -> None:
    config = toy_loop(tmp_path)
    settings = config.settings(load_prompts(config.expand.prompts), {"real": [], "val": [], "test": []})
    assert settings["expand.clip.name"] == "embedded"
    earlier = {key: value for key, value in settings.items() if not key.startswith("pictures.")}
    assert "expand.clip.revision" not in earlier
    folder = LoopFolder(tmp_path / "out")
    folder.out.mkdir()
    (folder.out / "loop.json").write_text(json.dumps(earlier))
    folder.check(settings)
    assert json.loads((folder.out / "loop.json").read_text()) == json.loads(json.dumps(settings))


def test_a_revision_that_is_given_counts(tmp_path: Path) -> None:
    config = toy_loop(tmp_path)
    clip = config.expand.clip.model_copy(update={"revision": "another"})
    config = config.model_copy(update={"expand": config.expand.model_copy(update={"clip": clip})})
    settings = config.settings(load_prompts(config.expand.prompts), {})
    assert settings["expand.clip.revision"] == "another"
