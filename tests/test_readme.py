"""What the README shows runs, and what it names exists."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from torch import Tensor

from augment.run.config import load_expand_config
from augment.tiny.dataset import split_path
from tests.cli.invoke import invoke
from tests.run.shapes import folders

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_the_training_example_gives_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    example = blocks("python")[0]
    assert len(example.splitlines()) == 3
    for folder in ("data/train", "out/demo/shards"):
        (tmp_path / folder).mkdir(parents=True)
        shutil.copy(split_path("val"), tmp_path / folder / "000.tar")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(compile(example.replace("10_000", "96"), "README.md", "exec"), names)
    assert isinstance(names["images"], Tensor)
    assert names["images"].shape == (32, 3, 64, 64)  # the last batch: 96 = 64 + 32
    assert isinstance(names["labels"], Tensor)
    assert names["labels"].min() >= 0 and names["labels"].max() < 16


def test_the_python_example_runs_and_reconstructs(capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, object] = {}
    exec(compile(blocks("python")[1], "README.md", "exec"), names)
    result = names["result"]
    assert result.psnr == pytest.approx(result.vae_psnr, abs=1.0)  # type: ignore[attr-defined]
    assert "[2, 3, 64, 64]" in capsys.readouterr().out


def test_the_commands_for_your_own_photos_lead_to_a_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    section = README.partition("## Your own photos")[2].partition("\n## ")[0]
    commands = re.findall(r"^\.venv/bin/augment ([^#\n]*[^#\s])", section, flags=re.MULTILINE)
    assert [command.split()[0] for command in commands] == ["init", "validate", "tune", "preview", "expand", "verify"]
    folders("fox", "owl")(tmp_path / "photos")
    monkeypatch.chdir(tmp_path)
    for command in commands[:2]:
        words = command.replace("sdxl-turbo", "embedded").split()  # the one that is there without a download
        assert invoke(*words).exit_code == 0
    config = load_expand_config(tmp_path / commands[-2].split()[1])
    assert config.output.path == commands[-1].split()[1]


def test_files_it_names_exist() -> None:
    named = set(re.findall(r"`((?:augment|jobs|configs|docs)/[\w./]+\.(?:py|yaml|md))`", README))
    named |= {link.partition("#")[0] for link in re.findall(r"\]\((?!http)([^)]+)\)", README)}
    assert len(named) > 15
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def test_make_targets_it_names_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert {"demo", "test", "docs"} <= set(re.findall(r"make (\w+)", README)) <= targets | {"are"}


def test_its_results_are_those_of_the_documentation() -> None:
    section = README.partition("## Results")[2].partition("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| ")]
    pages = [ROOT / "docs" / name for name in ("inversion.md", "emoji_world.md")]
    measured = [line for page in pages for line in page.read_text().splitlines()]
    assert len(rows) > 8
    assert [row for row in rows if row not in measured] == []


def test_it_can_be_read_in_a_few_minutes() -> None:
    assert len(README.splitlines()) <= 150
