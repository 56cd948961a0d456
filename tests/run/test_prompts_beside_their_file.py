"""`prompts`, and the lines in it, are looked for beside the file that says them, which others may extend."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from augment.config import folder_of_key
from augment.loop.config import load_loop_config
from augment.prompts import PromptConfig
from augment.run.config import load_expand_config
from augment.run.interpolate import load_interpolate_config
from augment.run.prompt_file import load_prompts
from augment.run.validate import validate

JOB = "input: {path: photos, format: imagefolder, image_size: 64}\noutput: {path: out}\n"
LOADERS: list[Callable[..., object]] = [load_expand_config, load_interpolate_config]


@pytest.fixture
def child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file in `project/` that extends one in `base/`; the working directory is `project/`."""
    for name in ("base", "project"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "project")
    path = tmp_path / "project" / "child.yaml"
    path.write_text("extends: ../base/base.yaml\n")
    return path


def base(child: Path, text: str) -> Path:
    path = child.parent.parent / "base" / "base.yaml"
    path.write_text(text)
    return path


def same(found: object, wanted: Path) -> bool:
    return isinstance(found, Path) and found.is_absolute() and found.resolve() == wanted.resolve()


@pytest.mark.parametrize("load", LOADERS)
def test_the_file_that_is_extended_names_its_own_neighbour(load: Callable[..., object], child: Path) -> None:
    job = JOB if load is load_expand_config else JOB.replace("{path: out}", "out")
    folder = base(child, job + "prompts: prompts.yaml\n").parent
    found = load(child).prompts  # type: ignore[attr-defined]
    assert same(found, folder / "prompts.yaml")
    child.write_text(child.read_text() + "prompts: own.yaml\n")
    assert same(load(child).prompts, child.parent / "own.yaml")  # type: ignore[attr-defined]
    typed = load(child, ["prompts = sub/typed.yaml"])
    assert same(typed.prompts, Path("sub/typed.yaml"))  # type: ignore[attr-defined]


def test_lines_are_beside_the_file_that_says_them(child: Path) -> None:
    folder = base(child, JOB + "prompts: {lines: lines.txt}\n").parent
    child.write_text(child.read_text() + "prompts: {source_template: 'a photo of {a_class}'}\n")
    prompts = load_expand_config(child).prompts
    assert isinstance(prompts, PromptConfig) and same(prompts.lines, folder / "lines.txt")
    for override in ("prompts.lines=typed.txt", "prompts={lines: typed.txt}"):
        typed = load_expand_config(child, [override]).prompts
        assert isinstance(typed, PromptConfig) and same(typed.lines, Path("typed.txt"))


def test_a_file_of_prompts_that_extends_another_finds_its_lines(child: Path) -> None:
    folder = base(child, "lines: lines.txt\n").parent
    (folder / "lines.txt").write_text("a fox in snow\n")
    assert load_prompts(child).lines == {"*": ("a fox in snow",)}


def test_a_loop_finds_them_too(child: Path) -> None:
    shipped = Path(__file__).parents[2] / "configs" / "loop" / "emoji.yaml"
    child.write_text(f"extends: {shipped}\n")
    prompts = load_loop_config(shipped).expand.prompts
    assert load_loop_config(child).expand.prompts == prompts
    typed = load_loop_config(child, ["expand.prompts=typed.yaml"]).expand.prompts
    assert same(typed, Path("typed.yaml"))


def test_validate_looks_there_after_another_problem_too(child: Path) -> None:
    folder = base(child, JOB + "prompts: prompts.yaml\nsed: 3\n").parent
    problems = validate(child).problems
    assert any("sed" in problem for problem in problems)
    assert any(str(folder / "prompts.yaml") in str(Path(p.partition(": ")[0]).resolve()) for p in problems), problems


def test_the_folder_of_a_key(child: Path) -> None:
    base(child, "a: {b: 1}\n")
    child.write_text(child.read_text() + "c: 2\n")
    assert folder_of_key(child, ("a", "b")).resolve() == child.parent.parent / "base"
    assert folder_of_key(child, ("c",)) == folder_of_key(child, ("d",)) == child.parent
    assert folder_of_key(child, ("c", "e"), ["c={e: 1}"]) == Path()
