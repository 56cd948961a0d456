"""Damaged model folders end in a message, whatever is damaged: never in the libraries' own exceptions."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest

from augment.errors import ModelError
from augment.models.clip import load_clip
from augment.models.config import ClipConfig, ModelConfig, pinned, pinned_clip
from augment.models.load import load_model
from augment.tiny.packaged import WEIGHTS
from tests.models.corruptions import corrupt
from tests.pipelines import stable_diffusion, stable_diffusion_3

KINDS = ("sd", "sd3", "clip")
FEW, MANY = 24, 200


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder of each kind, sound."""
    folder = tmp_path_factory.mktemp("models")
    stable_diffusion().save_pretrained(folder / "sd")
    stable_diffusion_3().save_pretrained(folder / "sd3")
    shutil.copytree(WEIGHTS / "clip", folder / "clip")
    return folder


def outcome(folder: Path, kind: str) -> str:
    """Return who finds the damage: `files` without loading, `load`, or `none`, because it does no harm."""
    name, clip = str(folder), kind == "clip"
    config = ModelConfig(name=name)
    stages = {
        "files": lambda: pinned_clip(ClipConfig(name=name)) if clip else pinned(config),
        "load": lambda: load_clip(ClipConfig(name=name)) if clip else load_model(config),
    }
    for stage, look in stages.items():
        try:
            look()
        except ModelError as error:
            return stage if name in str(error) else f"without the model's name: {error}"
    return "none"


def outcomes(models: Path, tmp_path: Path, seeds: range) -> Counter[str]:
    found: Counter[str] = Counter()
    for seed in seeds:
        kind = KINDS[seed % len(KINDS)]
        folder = Path(shutil.copytree(models / kind, tmp_path / f"{kind}{seed}"))
        how = corrupt(folder, seed)
        try:
            found[outcome(folder, kind)] += 1
        except Exception as error:
            raise AssertionError(f"seed {seed}, {kind}, {how}") from error
        shutil.rmtree(folder)
    return found


def test_sound_folders_load(models):
    assert [outcome(models / kind, kind) for kind in KINDS] == ["none"] * 3


def test_damaged_folders_are_explained(models, tmp_path):
    found = outcomes(models, tmp_path, range(FEW))
    assert found["files"] + found["load"] + found["none"] == FEW
    assert found["files"] >= FEW // 3


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_many_damaged_folders_are_explained(models, tmp_path):
    found = outcomes(models, tmp_path, range(FEW, MANY))
    assert found["files"] + found["load"] + found["none"] == MANY - FEW
    assert found["files"] >= (MANY - FEW) // 3
