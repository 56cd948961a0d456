"""One small run of the main job, and a preview of it, for all that is tested on their output."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.cli.invoke import (
    answer,
    invoke,
    options,
)
from tests.run.runs import (
    CONFIG,
)


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """The output of one small run, and what its command printed."""
    out = tmp_path_factory.mktemp("commands") / "out"
    return out, invoke("expand", CONFIG, *options(out), "--json")


@pytest.fixture(scope="session")
def out(run: tuple[Path, Any]) -> Path:
    return run[0]


@pytest.fixture(scope="session")
def previewed(out: Path) -> dict[str, Any]:
    """What a preview of three images said; its folder lies in `out`."""
    return answer("preview", CONFIG, *options(out), "-n", 3)


@pytest.fixture
def copy(out: Path, tmp_path: Path) -> Path:
    """The output without its preview, to be changed."""
    return Path(shutil.copytree(out, tmp_path / "copy", ignore=shutil.ignore_patterns("preview")))
