"""What the tests of `jobs/cluster` share: its files, and the `augment expand` in them read as the command reads it."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer

from augment.cli.main import app
from augment.config import load_config
from augment.run.config import ExpandConfig

ROOT = Path(__file__).parents[2]
CLUSTER = ROOT / "jobs" / "cluster"
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def validated(words: Sequence[str]) -> ExpandConfig:
    """The config of an `augment expand ...`; any mistake in its words or its keys raises."""
    program, subcommand, *arguments = words
    assert (program, subcommand) == ("augment", "expand")
    command = typer.main.get_command(app).commands[subcommand]  # type: ignore[attr-defined]
    params = command.make_context(subcommand, arguments).params
    return load_config(ROOT / params["config"], ExpandConfig, params["overrides"])


def assert_fits_a_cluster(config: ExpandConfig) -> None:
    assert (config.run.executor, config.run.address, config.run.num_workers) == ("ray", "auto", "all")
    assert config.model.device == "cuda"
