"""Every shipped YAML file is a test case: it loads with its schema and says what it is for."""

from __future__ import annotations

import importlib
import itertools
from pathlib import Path

import pytest

from augment.config import load_config

CONFIGS = Path(__file__).parents[1] / "configs"
FILES = sorted(p.relative_to(CONFIGS) for p in CONFIGS.rglob("*.y*ml"))
SCHEMAS = {
    "benchmark": ("augment.evaluation.benchmark", "BenchmarkConfig"),
    "expand": ("augment.run.config", "ExpandConfig"),
    "interpolate/emoji.yaml": ("augment.run.interpolate", "InterpolateConfig"),
    "interpolate/rare.yaml": ("augment.evaluation.rare_concepts", "RareConfig"),
    "loop": ("augment.loop.config", "LoopConfig"),
    "prompts": ("augment.prompts", "PromptConfig"),
    "study": ("augment.study.config", "StudyConfig"),
    "train": ("augment.tiny.training", "TrainConfig"),
    "train_classifier": ("augment.training.config", "TrainingConfig"),
}


def test_every_kind_is_shipped() -> None:
    assert {f.parts[0] for f in FILES} >= {name.split("/")[0] for name in SCHEMAS}


@pytest.mark.parametrize("file", FILES, ids=str)
def test_loads_with_its_schema(file: Path) -> None:
    module, name = SCHEMAS.get(str(file)) or SCHEMAS[file.parts[0]]
    schema = getattr(importlib.import_module(module), name)
    assert type(load_config(CONFIGS / file, schema)) is schema


@pytest.mark.parametrize("file", FILES, ids=str)
def test_opens_with_what_it_is_for(file: Path) -> None:
    lines = (CONFIGS / file).read_text().splitlines()
    opening = list(itertools.takewhile(lambda line: line.startswith("#"), lines))
    assert opening
    if file.parts[0] != "prompts":
        told = {line.lstrip("# ").split(":")[0] for line in opening if ":" in line}
        assert told >= {"command", "hardware", "duration", "expected"}


@pytest.mark.parametrize("file", [f for f in FILES if f.parts[0] != "prompts"], ids=str)
def test_its_command_names_it(file: Path) -> None:
    text = (CONFIGS / file).read_text()
    command = next(line for line in text.splitlines() if line.startswith("# command:"))
    assert f"configs/{file}" in command
