"""A study on Ray: every piece once, after those that it needs, and the report of a study in one process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from augment.study.pieces import pieces_of
from augment.study.run import run_study
from tests.run.runs import ROOT
from tests.study.toy_study import toy_study

ARMS = ("none", "text_to_image", "default", "default_filtered", "oracle")


def settings() -> dict[str, Any]:
    """A toy study with every kind of piece."""
    budget = {"tracks": ["marks"], "arms": ["default"], "edits_per_image": [1]}
    config = toy_study(arms=list(ARMS), budget=budget, steps=2, min_label_probability=0.0)
    return config.model_dump(mode="json", exclude_defaults=True)


def test_each_piece_comes_once_and_after_those_that_it_needs(tmp_path: Path) -> None:
    pieces = list(pieces_of(toy_study(**settings()), tmp_path))
    names = [piece.name for piece in pieces]
    assert len(set(names)) == len(names)
    for place, piece in enumerate(pieces):
        assert set(piece.needs) <= set(names[:place])
    assert [name for name in names if "pictures of default" in name] == [
        "marks: pictures of default",
        "marks: pictures of default, filtered, 2 of each",
        "marks: pictures of default, all, 1 of each",
    ]
    assert [p.name for p in pieces if p.uses_model] == [
        f"marks: pictures of {maker}" for maker in ("text_to_image", "default", "oracle")
    ]
    assert next(p.needs for p in pieces if p.name == "marks: default-1, seed 0")[-1] == names[-2]


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_report_is_that_of_one_process(tmp_path: Path, emoji_font: Path) -> None:
    file, out = tmp_path / "study.yaml", tmp_path / "ray"
    file.write_text(json.dumps(settings() | {"run": {"executor": "ray", "num_workers": 2}}))
    command = [sys.executable, "-m", "augment", "study", str(file), "--out", str(out)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "done: marks: default-1, seed 0" in ended.stderr
    on_ray = json.loads((out / "report.json").read_text())
    alone = subprocess.run(
        [*command[:-1], str(tmp_path / "alone"), "-o", "run={}"], cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    assert alone.returncode == 0
    expected = json.loads((tmp_path / "alone" / "report.json").read_text())
    assert on_ray.pop("config")["run"]["executor"] == "ray" and expected.pop("config")
    assert on_ray == expected
    # What is done is found by the other executor.
    found = run_study(toy_study(**settings()), out)
    assert found["rows"] == expected["rows"]


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_error_of_a_piece_is_that_of_the_command(tmp_path: Path, emoji_font: Path) -> None:
    file, out = tmp_path / "study.yaml", tmp_path / "out"
    content = settings() | {"arms": ["none"], "budget": None, "run": {"executor": "ray", "num_workers": 1}}
    file.write_text(json.dumps(content | {"network": {"name": "no_such_network"}}))
    command = [sys.executable, "-m", "augment", "study", str(file), "--out", str(out)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode != 0 and "'no_such_network' is no" in ended.stderr
    assert "Traceback" not in ended.stderr and not (out / "report.json").exists()
