"""The loop as a whole, at toy size: its rounds and report, that it stops and can be stopped, and what it refuses."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from pydantic import ValidationError

from augment.dataset.verify import verify
from augment.errors import ConfigError, LeakError, TrainingError
from augment.inputs.readers import list_sources
from augment.loop import rounds as rounds_module
from augment.loop import run as run_module
from augment.loop.config import LoopBudget, LoopConfig
from augment.loop.run import run_loop
from augment.loop.stop import best_round, edits_left, stop_reason
from augment.run.prompt_table import read_made
from augment.storage.resolve import open_store
from tests.cli.invoke import answer
from tests.loop.toy_loop import MAKE_WORKER, toy_loop, write_toy_loop
from tests.run.runs import ROOT
from tests.training.toy import write_split

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")
MEASURED = ("worker_seconds", "train_seconds")


def loop(config: LoopConfig, out: Path, **more: Any) -> dict[str, Any]:
    return run_loop(config, out, make_worker=MAKE_WORKER, **more)


def figures(report: dict[str, Any]) -> dict[str, Any]:
    """What two loops of one config must have the same; times and paths differ."""
    rows = [{k: v for k, v in row.items() if k not in MEASURED} for row in report["rows"]]
    return {"rows": rows, **{k: report[k] for k in ("best_round", "stopped", "edits", "test")}}


class Whole(NamedTuple):
    """A loop that nothing happened to."""

    config: LoopConfig
    out: Path
    report: dict[str, Any]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    folder = tmp_path_factory.mktemp("loop")
    config = toy_loop(folder, patience=5)
    return Whole(config, folder / "out", loop(config, folder / "out"))


def test_each_round_adds_edits_to_one_output_and_is_trained_on_them(whole: Whole) -> None:
    out, report = whole.out, whole.report
    assert json.loads((out / "report.json").read_text()) == report
    assert [(row["round"], row["edits"]) for row in report["rows"]] == [(0, 0), (1, 10), (2, 18)]
    assert report["stopped"] == "the budget of 18 edits is spent" and report["edits"] == 18
    before: dict[Any, Any] = {}
    for number in (1, 2):
        table = read_made(open_store(str(out / f"rounds/{number}/prompts"))) or {}
        assert table.items() >= before.items()  # what was planned stays
        before = table
        trained = json.loads((out / f"rounds/{number}/train/report.json").read_text())
        assert trained["pictures"]["synthetic"] == report["rows"][number]["accepted"] > 0
        assert trained["pictures"]["test"] == 0 and trained["test"] is None  # nothing is chosen by it
        choice = json.loads((out / f"rounds/{number}/choice.json").read_text())
        assert choice["edits"] == sum(choice["by_class"].values()) == (10, 8)[number - 1]
    assert not verify(out / "edits").problems
    index = list_sources(str(out / "edits/shards"), "webdataset").sources
    assert len(index) == report["rows"][2]["accepted"] and {s.key for s in index} <= {
        f"{key}-v{variant:02d}" for key, variant in before
    }


def test_the_report_has_the_figures_of_val_and_of_test_in_the_end(whole: Whole) -> None:
    out, report = whole.out, whole.report
    best = report["rows"][report["best_round"]]
    assert best["accuracy"] == max(row["accuracy"] for row in report["rows"])
    for row in report["rows"]:
        trained = json.loads((out / f"rounds/{row['round']}/train/report.json").read_text())["val"]
        for name in ("accuracy", "worst_group"):
            assert row[f"{name}_low"] <= row[name] == trained[name] <= row[f"{name}_high"]
    assert report["test"]["n"] == 18
    assert [p.parent.name for p in out.glob("rounds/*/test.json")] == [str(report["best_round"])]
    table = (out / "report.md").read_text()
    assert table.count("\n| ") == 3 and "Test, read once" in table
    assert "<svg" in (out / "loop.svg").read_text()


class Killed(Exception):  # noqa: N818 - it stands for a kill
    """The end of a process, in a test."""


def dying(*arguments: Any, **named: Any) -> None:
    """What stands in the place of a part of the loop."""
    raise Killed


def test_a_loop_killed_at_every_part_ends_as_one_that_was_not(
    whole: Whole, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each start ends as the next part begins; what was done before is not done again."""
    config = toy_loop(tmp_path, patience=5)
    parts = [
        "train",
        "early_losses",
        "write_table",
        "expand",
        "train",
        "write_table",
        "expand",
        "train",
        "measure_test",
    ]
    for name in parts:
        with monkeypatch.context() as patch:
            patch.setattr(run_module, name, dying)
            with pytest.raises(Killed):
                loop(config, tmp_path / "out")
        assert not (tmp_path / "out/report.json").exists()
    assert figures(loop(config, tmp_path / "out")) == figures(whole.report)


def test_a_finished_loop_does_nothing_again(whole: Whole, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("expand", "train", "early_losses", "measure_test"):
        monkeypatch.setattr(run_module, name, dying)
    assert loop(whole.config, whole.out) == whole.report


def test_with_a_larger_budget_it_goes_on_where_it_ended(whole: Whole, tmp_path: Path) -> None:
    shutil.copytree(whole.out, tmp_path / "out")
    config = whole.config.model_copy(update={"budget": LoopBudget(edits=20)})
    longer = loop(config, tmp_path / "out")
    assert longer["rows"][:3] == whole.report["rows"] and [row["edits"] for row in longer["rows"]] == [0, 10, 18, 20]
    with pytest.raises(TrainingError, match=r"loop with other settings.*\n  focus: 1.0 there, 2.0 now"):
        loop(config.model_copy(update={"focus": 2.0}), tmp_path / "out")


def test_pictures_of_test_among_those_to_edit_are_refused_before_anything_is_made(tmp_path: Path) -> None:
    content = write_toy_loop(tmp_path)
    content["train"]["data"]["test"]["path"] = str(tmp_path / "train.tar")
    with pytest.raises(LeakError, match=r"is the same file as test"):
        loop(LoopConfig.model_validate(content), tmp_path / "out")
    assert not (tmp_path / "out/edits").exists()


# ---- when it stops --------------------------------------------------------------------------------------------------
def row(number: int, accuracy: float, edits: int, seconds: float = 0.0) -> dict[str, Any]:
    return {"round": number, "accuracy": accuracy, "edits": edits, "worker_seconds": seconds}


@pytest.mark.parametrize(
    ("rows", "budget", "reason"),
    [
        ([row(0, 0.5, 0)], {"edits": 18}, ""),
        ([row(0, 0.5, 0), row(1, 0.5, 10)], {"edits": 18}, ""),
        ([row(0, 0.5, 0), row(1, 0.5, 10), row(2, 0.4, 14)], {"edits": 18}, "val was no better for 2 rounds"),
        ([row(0, 0.5, 0), row(1, 0.4, 10), row(2, 0.6, 14)], {"edits": 18}, ""),
        ([row(0, 0.5, 0), row(1, 0.6, 18)], {"edits": 18}, "the budget of 18 edits is spent"),
        ([row(0, 0.5, 0), row(1, 0.6, 10, 1800.0)], {"gpu_hours": 0.5}, "the budget of 0.5 GPU-hours is spent: 0.500"),
        ([row(0, 0.5, 0), row(1, 0.6, 10, 1700.0)], {"gpu_hours": 0.5}, ""),
        ([row(0, 0.5, 0), row(1, 0.6, 72)], {"gpu_hours": 9}, "every image has all the edits that it may have"),
        ([row(0, 0.5, 0), row(1, 1.0, 10)], {"edits": 18}, "val has no mistake left in round 1"),
    ],
)
def test_reasons_to_stop(rows: list[dict[str, Any]], budget: dict[str, Any], reason: str, tmp_path: Path) -> None:
    assert stop_reason(toy_loop(tmp_path, budget=budget), rows, capacity=72) == reason


def test_of_equal_rounds_the_first_is_the_best_and_the_last_round_gets_what_is_left(tmp_path: Path) -> None:
    rows = [row(0, 0.5, 0), row(1, 0.7, 10), row(2, 0.7, 14)]
    assert best_round(rows, "accuracy") == 1
    assert edits_left(toy_loop(tmp_path), rows) == 4
    assert edits_left(toy_loop(tmp_path, budget={"gpu_hours": 1}), rows) == 10


# ---- configs --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("expand.output", {"path": "elsewhere"}, "expand.output.path: the loop writes into OUT/edits"),
        ("train.data.synthetic", {"path": "edits"}, "`synthetic` what the loop makes; leave both out"),
        ("train.data.real", {"path": "other.tar"}, "`real` is what `expand.input` lists"),
        ("train.recipe", {"name": "repeated_real"}, "recipe: 'repeated_real' needs data.synthetic"),
        ("budget", {}, "give edits or gpu_hours"),
        ("expand.prompt_folder", "prompts", "each round has a table of prompts of its own"),
        ("expand.input.limit", 3, "what is trained on is what is expanded, all of it"),
    ],
)
def test_what_contradicts_the_loop_is_refused(path: str, value: Any, message: str, tmp_path: Path) -> None:
    content = write_toy_loop(tmp_path)
    *parents, last = path.split(".")
    section = content
    for name in parents:
        section = section[name]
    section[last] = value
    with pytest.raises(ValidationError, match=message):
        LoopConfig.model_validate(content)


def test_prompts_without_templates_cannot_be_steered(tmp_path: Path) -> None:
    content = write_toy_loop(tmp_path)
    content["expand"]["prompts"] = {"lines": {"*": ["a picture of {a_class} in fog"]}}
    with pytest.raises(ConfigError, match=r"needs templates over attributes"):
        loop(LoopConfig.model_validate(content), tmp_path / "out")
    content = write_toy_loop(tmp_path)
    content["expand"]["prompts"]["draw"] = "balanced"
    with pytest.raises(ConfigError, match=r"no other draw than weighted"):
        loop(LoopConfig.model_validate(content), tmp_path / "out")


def test_torchrun_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "launched_size", lambda: 2)
    with pytest.raises(TrainingError, match="augment loop is one process"):
        loop(toy_loop(tmp_path), tmp_path / "out")


def test_the_command_explains_what_is_wrong(tmp_path: Path) -> None:
    write_split(tmp_path, "train", 2)
    file = tmp_path / "loop.yaml"
    file.write_text(yaml.safe_dump(write_toy_loop(tmp_path)))
    refused = answer("loop", file, "--out", tmp_path / "out", "-o", "focuss=1", code=2)
    assert "did you mean focus?" in refused["error"]
    refused = answer("loop", file, "--out", tmp_path / "out", "-o", "train.data.groups=[sky]", code=2)
    assert "data.groups: 'sky' is not known" in refused["error"]


@pytest.mark.slow
def test_the_shipped_config_runs_on_the_embedded_model(tmp_path: Path) -> None:
    small = ("edits_per_round=8", "budget.edits=8", "train.steps=4", "train.eval_every=2", "early_steps=2")
    options = [
        word for one in (*small, "expand.run.executor=local", "expand.editing.num_steps=4") for word in ("-o", one)
    ]
    content = answer("loop", ROOT / "configs/loop/emoji.yaml", "--out", tmp_path / "out", *options)
    assert [row["edits"] for row in content["rows"]] == [0, 8]
    assert content["rows"][1]["worker_seconds"] > 0 and content["gpu_hours"] > 0
    assert {row["attribute"] for row in content["rows"][0]["weakest"]} == {"background"}
    assert content["test"]["n"] == 320


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_a_loop_killed_by_the_system_ends_with_the_same_figures(seed: int, whole: Whole, tmp_path: Path) -> None:
    """Killed again and again, a little after one of its files has appeared."""
    out = tmp_path / "out"
    file = tmp_path / "config.json"
    file.write_text(json.dumps(write_toy_loop(tmp_path, patience=5)))
    marks = ["rounds/0/train/checkpoint.pt", "rounds/1/choice.json", "edits/commits/*", "rounds/2/prompts/*"]
    for mark in marks[seed::2] + marks[1 - seed :: 2][1:]:
        process = subprocess.Popen([sys.executable, "-m", "tests.loop.toy_loop", file, out], cwd=ROOT)
        deadline = time.monotonic() + 100
        while time.monotonic() < deadline and process.poll() is None and not list(out.glob(mark)):
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    config = LoopConfig.model_validate_json(file.read_text())
    assert figures(loop(config, out)) == figures(whole.report)


def test_files_of_rounds_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    folder = rounds_module.LoopFolder(tmp_path)
    folder.write(0, "report.json", {"round": 0})
    assert folder.rows() == [{"round": 0}]
    (tmp_path / "rounds/1").mkdir()
    (tmp_path / "rounds/1/report.json").write_text("{")
    with pytest.raises(TrainingError, match=r"1/report.json cannot be read .*; delete it to do this part again"):
        folder.rows()
