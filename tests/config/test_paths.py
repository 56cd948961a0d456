"""`~` and variables in the paths of configs."""

from __future__ import annotations

from pathlib import Path

import pytest

from augment.config import load_config
from augment.config.paths import expand_path
from augment.errors import ConfigError
from augment.models.config import ClipConfig, ModelConfig
from augment.run.config import ExpandConfig, load_expand_config


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("DATA", "/data")
    monkeypatch.setenv("BUCKET", "mine")
    monkeypatch.setenv("NOTHING", "")
    monkeypatch.delenv("UNSET", raising=False)
    monkeypatch.chdir(tmp_path)


def test_what_is_replaced(tmp_path: Path) -> None:
    written = {
        "~": str(tmp_path),
        "~/photos": f"{tmp_path}/photos",
        "$DATA/photos": "/data/photos",
        "${DATA}/a-{000..009}.tar": "/data/a-{000..009}.tar",
        "s3://$BUCKET/x": "s3://mine/x",
        "photos~/a~b": "photos~/a~b",
        "cost$": "cost$",
        "a$1": "a$1",
        "embedded:train": "embedded:train",
        "owner/model": "owner/model",
    }
    assert {path: expand_path(path) for path in written} == written


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("$UNSET/a", "the environment variable 'UNSET' is not set; set it, or write the path out"),
        ("/x/${UNSET}", "the environment variable 'UNSET' is not set"),
        ("$NOTHING/a", "the environment variable 'NOTHING' is empty"),
        ("${}", "the environment variable '' is not set"),
        ("~nobody-of-this-name/a", "there is no home folder for '~nobody-of-this-name'"),
    ],
)
def test_what_cannot_be_replaced(path: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem.replace("$", r"\$")):
        expand_path(path)


def test_a_file_that_is_called_so_is_meant(tmp_path: Path) -> None:
    for name in ("$UNSET", "~"):
        (tmp_path / name).mkdir()
        assert expand_path(name) == name


def test_all_paths_of_a_config(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text(
        "input: {path: [$DATA/a, ~/b], format: webdataset, image_size: 64}\n"
        "output: {path: $DATA/out}\nprompts: ~/prompts.yaml\nmodel: {name: ~/model}\nclip: {name: $DATA/clip}\n"
    )
    config = load_expand_config(tmp_path / "job.yaml")
    assert config.input.path == ("/data/a", f"{tmp_path}/b")
    assert config.output.path == "/data/out" and config.prompts == tmp_path / "prompts.yaml"
    assert config.model.name == f"{tmp_path}/model" and config.clip.name == "/data/clip"
    again = load_expand_config(tmp_path / "job.yaml", ["output.path=~/o", "prompts=$DATA/p.yaml"])
    assert again.output.path == f"{tmp_path}/o" and again.prompts == Path("/data/p.yaml")
    assert (ModelConfig().name, ClipConfig().name) == ("embedded", "embedded")


def test_a_variable_that_is_not_set_is_a_problem_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text(
        "input: {path: $UNSET/a, format: webdataset, image_size: 64}\noutput: {path: out}\nprompts: $NOTHING/p.yaml\n"
    )
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path / "job.yaml", ExpandConfig)
    first, second = caught.value.problems
    assert first.startswith(f"{tmp_path}/job.yaml:1: input.path: ") and "'UNSET' is not set" in first
    assert second.startswith(f"{tmp_path}/job.yaml:3: prompts: ") and "'NOTHING' is empty" in second
