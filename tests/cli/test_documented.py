"""What the documentation says of commands, exit codes and JSON objects is what they do."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import typer

from augment.cli.main import app
from augment.cli.output import PROBLEMS
from augment.distribute.signals import HUNG_EXIT_CODE
from augment.errors import AugmentError, BudgetExceeded
from tests.cli.invoke import (
    answer,
    configured,
    invoke,
    options,
)
from tests.run.runs import (
    CONFIG,
    ROOT,
)

DOCUMENT = (ROOT / "docs" / "exit_codes.md").read_text()
FREE = {
    "classes",
    "class_words",
    "reasons",
    "refused",
    "retries",
    "failed_by_stage",
    "rejected_by_reason",
}  # whose keys are names of things


@pytest.mark.parametrize("name", ["status", "finalize", "verify"])
def test_errors_are_objects_too(tmp_path: Path, name: str) -> None:
    result = invoke(name, tmp_path / "nothing", "--json")
    assert (result.exit_code, result.stderr) == (AugmentError.exit_code, "")
    content = json.loads(result.stdout)
    assert content.keys() == {"error", "exit_code"}
    assert content["exit_code"] == AugmentError.exit_code
    assert "no output folder of `augment expand`" in content["error"]
    assert not (tmp_path / "nothing").exists()


def test_every_command_is_documented_and_helps() -> None:
    commands: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    rows = re.findall(r"^\| `augment ([\w-]+)(.*)$", DOCUMENT, flags=re.MULTILINE)
    assert [name for name, _ in rows] == [*commands]
    for name, row in rows:
        known = {option for parameter in commands[name].params for option in parameter.opts}
        assert set(re.findall(r"(?<![\w-])--?[a-z][\w-]*", row)) <= known, name
        assert invoke(name, "--help").exit_code == 0


def test_exit_codes_are_documented() -> None:
    table = DOCUMENT.partition("## Exit codes")[2].partition("## JSON")[0]
    codes = [int(code) for row in re.findall(r"^\| ([\d, ]+) \|", table, flags=re.MULTILINE) for code in row.split(",")]
    assert codes == [0, PROBLEMS, AugmentError.exit_code, BudgetExceeded.exit_code, HUNG_EXIT_CODE, 130, 143]


def same_keys(documented: Any, real: Any, where: str) -> None:
    if isinstance(documented, list) and isinstance(real, list) and documented and real:
        same_keys(documented[0], real[0], f"{where}[0]")
    if isinstance(documented, dict) and isinstance(real, dict):
        assert list(documented) == list(real), where
        for key in documented.keys() - FREE:
            same_keys(documented[key], real[key], f"{where}.{key}")


def test_documented_objects_are_the_real_ones(run: tuple[Path, Any], previewed: dict[str, Any], copy: Path) -> None:
    out, result = run
    real = {
        "init": answer("init", "embedded:train", "--out", copy / "configs"),
        "validate": configured("validate", out),
        "prompts": configured("prompts", copy),
        "plan": configured("plan", out),
        "preview": previewed,
        "tune": answer("tune", CONFIG, *options(copy), "--images", 2, "--strengths", "0.5", "--guidance", "1"),
        "expand": json.loads(result.stdout),
        "status": answer("status", out),
        "finalize": answer("finalize", copy),
        "verify": answer("verify", out),
        "doctor": json.loads(invoke("doctor", "--json").stdout),
    }
    examples = re.findall(r"^### `augment (\w+)[^\n]*--json`\n\n```json\n(.*?)```", DOCUMENT, re.MULTILINE | re.DOTALL)
    assert {name for name, _ in examples} == real.keys()
    for name, example in examples:
        same_keys(json.loads(example), real[name], name)
