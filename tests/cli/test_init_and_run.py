"""From a folder of pictures to shards without writing a line of YAML, as a user of the wheel goes."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.cli.invoke import answer
from tests.run.runs import published
from tests.run.shapes import folders

TOY = ("variants_per_image=1", "editing.num_steps=2", "run.executor=local")


@pytest.mark.timeout(300)  # two runs, each with a load of the model
def test_a_folder_that_is_not_emoji_worlds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders("train/001.Red_fox", "train/002.Snow_owl", "val/001.Red_fox", "val/002.Snow_owl")(tmp_path / "animals")
    monkeypatch.chdir(tmp_path)
    toy = [word for override in TOY for word in ("-o", override)]
    seen = answer("init", "animals", "--model", "embedded", "--out", "configs")
    assert seen["class_words"] == {"001.Red_fox": "Red fox", "002.Snow_owl": "Snow owl"}
    assert answer("validate", "configs/expand.yaml")["planned"] == 16
    made = answer("expand", "configs/expand.yaml", *toy, "-o", "filters.max_psnr_gap=null")
    assert (made["out"], made["planned"], made["accepted"]) == (str(tmp_path / "out" / "animals"), 4, 4)
    verified = answer("verify", "out/animals")
    assert (verified["ok"], verified["accepted"]) == (True, 4)
    # The same without files, into another folder: the same bytes.
    other = answer(
        *("expand", "--data", "animals", *toy, "-o", "filters.max_psnr_gap=null", "-o", "output.path=out/again"),
    )
    assert other["accepted"] == 4
    shards = {name: digest for name, digest in published(tmp_path / "out/again").items() if name.startswith("shards/")}
    assert shards.items() <= published(tmp_path / "out/animals").items()
    assert len(shards) >= 1
    resolved = yaml.safe_load((tmp_path / "out/again/run/config.resolved.yaml").read_text())
    assert resolved["prompts"]["templates"] == ["a picture of something {background} {condition}"]
    again = answer("finalize", "out/again", "-o", "filters.max_psnr_gap=30")
    assert again["planned"] == 4
