"""The command line in this process: what a shell would see of it, without another start of Python."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from augment.cli.main import app
from tests.run.runs import CONFIG, overrides


def options(out: Path | str, *more: str) -> list[str]:
    """The small run of `tests.run.runs` as options of a command."""
    return [word for each in overrides(Path(out), *more) for word in ("-o", each)]


def invoke(*arguments: object) -> Any:
    """Exit code, stdout and stderr of a command. An error that the command line does not explain is raised."""
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def answer(name: str, *arguments: object, code: int = 0) -> dict[str, Any]:
    """The one JSON object that a command with `--json` prints, and that it left with `code`."""
    result = invoke(name, *arguments, "--json")
    assert result.exit_code == code, result.stderr + result.stdout
    (line,) = result.stdout.splitlines()
    content = json.loads(line)
    assert isinstance(content, dict)
    return content


def configured(name: str, out: Path, *more: str, code: int = 0) -> dict[str, Any]:
    """The same of a command that takes a config, with the small run's overrides."""
    return answer(name, CONFIG, *options(out, *more), code=code)
