"""What the README shows runs, and what it names exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_the_python_example_runs_and_reconstructs(capsys):
    example = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)[0]
    names: dict[str, object] = {}
    exec(compile(example, "README.md", "exec"), names)
    result = names["result"]
    assert result.psnr == pytest.approx(result.vae_psnr, abs=1.0)
    assert "[2, 3, 64, 64]" in capsys.readouterr().out


def test_files_it_names_exist():
    named = set(re.findall(r"`((?:augment|jobs|configs|docs)/[\w./]+\.(?:py|yaml|md))`", README))
    named |= set(re.findall(r"\]\(((?!http)[\w./]+)\)", README))
    assert len(named) > 5
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def test_make_targets_it_names_exist():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert {"demo", "test"} <= set(re.findall(r"make (\w+)", README)) <= targets | {"are"}
