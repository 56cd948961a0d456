"""The commands around the main job on one small run: what they count, what they print, and what they leave alone."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from PIL import Image

from augment.cli.output import PROBLEMS, messages
from augment.distribute.task_queue import give_up
from augment.errors import AugmentError, BudgetExceeded, Interrupted
from augment.ledger.ledger import Ledger
from augment.run.config import load_expand_config
from augment.run.worker_config import worker_config
from tests.cli.invoke import (
    answer,
    configured,
    invoke,
    options,
)
from tests.run.runs import (
    CONFIG,
    ROOT,
    commit_of,
    overrides,
    published,
    written,
)


def given_up(out: Path) -> None:
    """Make a unit of a finished run one that no worker survived."""
    ledger = Ledger(out)
    plan = ledger.read_plan()
    assert plan is not None
    commit_of(out, 1).unlink()
    give_up(ledger, worker_config(load_expand_config(CONFIG, overrides(out)), plan), list(ledger.units())[1], "it died")


# ---- expand ---------------------------------------------------------------------------------------------------------
def test_one_object_on_stdout_and_progress_on_stderr(run: tuple[Path, Any]) -> None:
    out, result = run
    assert result.exit_code == 0, result.stderr
    content = json.loads(result.stdout)
    assert (content["out"], content["planned"], content["edits_made"]) == (str(out), 16, 16)
    assert content["accepted"] + content["rejected"] + content["failed"] == 16
    assert content["problems"] == []
    lines = result.stderr.splitlines()
    assert lines[0] == "0/16 edits, 0 workers, rejected 0, failed 0"
    assert re.match(r"16/16 edits, [\d.]+/s, 1 worker, rejected \d", lines[-1])


def test_given_up_units_are_a_problem_until_they_are_tried_again(copy: Path, out: Path) -> None:
    given_up(copy)
    content = configured("expand", copy, code=PROBLEMS)
    assert (content["failed"], content["reasons"]["failed: worker"], content["edits_made"]) == (4, 4, 0)
    (problem,) = content["problems"]
    assert "4 edits were given up" in problem
    assert "--retry-failed" in problem
    again = invoke("expand", CONFIG, *options(copy), "--retry-failed")
    assert again.exit_code == 0, again.stderr
    assert published(copy) == published(out)


def test_a_stage_that_there_is_not_is_refused(copy: Path) -> None:
    result = invoke("expand", CONFIG, *options(copy), "--retry-stage", "read", "--retry-stage", "cook")
    assert result.exit_code == AugmentError.exit_code
    assert "--retry-stage cook: there is no such stage; there are read, decode, invert" in result.stderr


def test_a_run_over_its_budget_ends_with_3(copy: Path) -> None:
    given_up(copy)
    lost = commit_of(copy, 2)
    lost.unlink()
    content = configured("expand", copy, "budget.after=1", code=BudgetExceeded.exit_code)
    assert content["exit_code"] == 3
    assert content["error"].startswith("4 of 12 edits have failed, 33.3%; budget.max_failed is 20.0%")
    assert "worker 4" in content["error"]
    assert not lost.exists()  # no worker was started


@pytest.mark.parametrize(("signum", "code"), [(2, 130), (15, 143)])
def test_a_signal_has_its_code(signum: int, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as caught, messages(as_json=True):
        raise Interrupted(signum)
    assert caught.value.exit_code == code
    content = json.loads(capsys.readouterr().out)
    assert content["exit_code"] == code
    assert "the same command goes on from here" in content["error"]


# ---- threads --------------------------------------------------------------------------------------------------------
@pytest.mark.skipif(sys.platform != "linux", reason="asks GNU OpenMP, which torch has on Linux")
@pytest.mark.parametrize(
    ("own", "spins"),
    [({}, "10000"), ({"GOMP_SPINCOUNT": "77"}, "77"), ({"OMP_WAIT_POLICY": "PASSIVE"}, "0")],
)
@pytest.mark.slow
def test_threads_that_wait_leave_their_core_to_other_programs_soon(own: dict[str, str], spins: str) -> None:
    environment = {k: v for k, v in os.environ.items() if k not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    environment |= {"OMP_DISPLAY_ENV": "VERBOSE"} | own
    done = subprocess.run([sys.executable, "-m", "augment", "doctor"], capture_output=True, text=True, env=environment)
    assert f"GOMP_SPINCOUNT = '{spins}'" in done.stderr


# ---- validate -------------------------------------------------------------------------------------------------------
def test_validate_and_plan_need_no_torch(tmp_path: Path) -> None:
    words = [[name, str(CONFIG), *options(tmp_path / "out")] for name in ("validate", "plan")]
    code = (
        "import sys\nfrom augment.cli.main import app\n"
        f"codes = [app(words, standalone_mode=False) for words in {words!r}]\n"
        "heavy = [m for m in ('torch', 'ray', 'diffusers', 'transformers') if m in sys.modules]\n"
        "sys.exit(f'{codes} {heavy}' if any(codes) or heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "ok: 8 images of 16 classes, 16 edits" in done.stdout
    assert "16 = 8 images x 2, in 4 units" in done.stdout
    assert not (tmp_path / "out").exists()


def test_validate_reports_everything_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    config = tmp_path / "bad.yaml"
    config.write_text(
        f"extends: {CONFIG}\nrun: {{num_worker: 3}}\nseeds: 1\nprompts: none.yaml\nmodel: {{name: ./nowhere}}\n"
        f"input: {{path: {tmp_path / 'data'}, format: imagefolder}}\noutput: {{path: {tmp_path / 'file' / 'out'}}}\n"
    )
    result = invoke("validate", config)
    assert (result.exit_code, result.stdout) == (AugmentError.exit_code, "")
    expected = (
        "run.num_worker: unknown key",
        "seeds: unknown key",
        f"{tmp_path / 'none.yaml'}: no such file",
        f"{tmp_path / 'data'} does not exist",
        "model './nowhere': no such folder",
        f"{tmp_path / 'file'} is no folder",
    )
    lines = result.stderr.splitlines()
    assert len(lines) == len(expected)
    for line, words in zip(lines, expected, strict=True):
        assert line.startswith("error: ")
        assert words in line
    content = answer("validate", config, code=AugmentError.exit_code)
    assert [f"error: {problem}" for problem in content["problems"]] == lines
    assert (content["ok"], content["sources"]) == (False, 0)


def test_validate_looks_at_prompts_and_classes_together(tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.yaml"
    prompts.write_text(
        "templates: ['a {class} {place}']\nattributes: {place: [{name: snow, text: on snow}]}\n"
        "overrides: {foxx: {place: {snow: 2.0}}, owl: {place: {snow: 0.0}}}\n"
    )
    content = configured("validate", tmp_path / "out", f"prompts={prompts}", code=AugmentError.exit_code)
    misspelt, empty = content["problems"]
    assert misspelt.startswith(f"{prompts}: class 'foxx' is no class of the dataset")
    assert empty.startswith(f"{prompts}: no combination of attributes is left for class 'owl'")
    assert (content["sources"], content["planned"]) == (8, 16)


def test_validate_knows_the_output(out: Path, copy: Path) -> None:
    before = written(copy)
    content = configured("validate", copy)
    (ignored,) = content.pop("warnings")
    assert "run.num_workers" in ignored
    assert content == {"ok": True, "problems": [], "sources": 8, "classes": 16, "planned": 16, "left_out": {}}
    (problem,) = configured("validate", copy, "editing.num_steps=5", code=AugmentError.exit_code)["problems"]
    assert "editing.num_steps: 4 in the plan, 5 now" in problem
    assert written(copy) == before
    shutil.rmtree(copy / "plan")
    (problem,) = configured("validate", copy, code=AugmentError.exit_code)["problems"]
    assert "already has commits, shards" in problem
    with Ledger(out).lock():
        (problem,) = configured("validate", out, code=AugmentError.exit_code)["problems"]
    assert "is being written by another run" in problem


# ---- plan and preview -----------------------------------------------------------------------------------------------
def test_plan_without_a_preview_says_what_it_assumes(tmp_path: Path) -> None:
    content = configured("plan", tmp_path / "out", "input.limit=null", "variants_per_image=3", "run.unit_size=100")
    assert (content["sources"], content["planned"], content["units"], content["workers"]) == (384, 1152, 4, 1)
    assert set(content["classes"].values()) == {24}
    one = 64 * 64 * 2 + 5120
    assert content["disk_bytes"]["shards"] == 1152 * one
    assert content["disk_bytes"]["total"] == (1152 + 1152 + 384) * one
    assert "2 bytes per pixel" in content["disk_bytes"]["basis"]
    assert [content[key] for key in ("worker_hours", "hours", "price", "seconds_per_edit")] == [None] * 4
    assert any("augment preview" in note for note in content["notes"])


def test_preview_edits_a_few_and_measures(out: Path, previewed: dict[str, Any]) -> None:
    assert (previewed["out"], previewed["planned"]) == (str(out / "preview"), 6)
    measured = previewed["measured"]
    assert (measured["images"], measured["edits"]) == (3, 6)
    assert 0 < measured["model_seconds_per_edit"] < measured["seconds_per_edit"]
    assert measured["setup_seconds"] > 0
    reports = Ledger(out / "preview").committed().values()
    assert sum(report.seconds.get("idle", 0.0) for report in reports) > 0
    at_work = sum(value for report in reports for stage, value in report.seconds.items() if stage != "idle")
    assert measured["seconds_per_edit"] == pytest.approx(at_work / 6)
    parts = sum(path.stat().st_size for path in (out / "preview" / "parts").iterdir())
    assert measured["part_bytes_per_edit"] == pytest.approx(parts / 6)
    with Image.open(out / "preview" / "contact_sheet.png") as sheet:
        assert sheet.height == 48 + 3 * 186 + 10  # three rows
    assert json.loads((out / "preview" / "preview.json").read_text())["settings"]["editing.num_steps"] == 4


def test_plan_reckons_with_the_preview(out: Path, previewed: dict[str, Any], tmp_path: Path) -> None:
    new = tmp_path / "new"
    shutil.copytree(out / "preview", new / "preview")
    path = new / "preview" / "preview.json"
    figures = {"seconds_per_edit": 2.0, "setup_seconds": 10.0, "part_bytes_per_edit": 7.0, "shard_bytes_per_edit": 5.0}
    path.write_text(json.dumps(json.loads(path.read_text()) | figures))
    before = written(new)
    # 16 edits of 2 s in 4 units
    alone = configured("plan", new)
    assert alone["worker_hours"] == alone["hours"] == pytest.approx((16 * 2 + 10) / 3600)
    assert (alone["disk_bytes"]["parts"], alone["disk_bytes"]["shards"]) == (112, 80)
    assert alone["disk_bytes"]["basis"] == "measured in a preview of 3 images"
    assert (alone["new"], alone["kept"], alone["dropped"]) == (16, 0, 0)
    three = answer(
        "plan", CONFIG, *options(new, "run.executor=ray", "run.num_workers=3"), "--price-per-gpu-hour", "3600"
    )
    assert three["hours"] == pytest.approx((10 + 2 * 8) / 3600)  # 8 s per unit; one of the workers makes two
    assert three["worker_hours"] == pytest.approx((16 * 2 + 3 * 10) / 3600)
    assert three["price"] == pytest.approx(62.0)
    many = configured("plan", new, "run.executor=ray", "run.num_workers=64")  # of which four have a unit
    assert (many["worker_hours"], many["hours"]) == (pytest.approx((16 * 2 + 40) / 3600), pytest.approx(18 / 3600))
    everyone = configured("plan", new, "run.executor=ray", "run.num_workers=all")
    assert (everyone["workers"], everyone["hours"]) == (None, None)
    assert everyone["worker_hours"] == pytest.approx(42 / 3600)
    assert written(new) == before
    done = configured("plan", out)
    assert (done["new"], done["kept"], done["worker_hours"]) == (0, 16, 0.0)
    assert any("4 units done" in note and f"augment status {out}" in note for note in done["notes"])


def test_a_preview_of_other_settings_is_no_measure(out: Path, previewed: dict[str, Any]) -> None:
    for override, difference in (
        ("editing.num_steps=7", "editing.num_steps: 4 in the preview, 7 now"),
        ("run.batch_size=5", "run.batch_size: 2 in the preview, 5 now"),
    ):
        content = configured("plan", out, override)
        assert content["worker_hours"] is None
        assert any(difference in note for note in content["notes"])
    assert configured("plan", out, "input.limit=7", "run.unit_size=3")["worker_hours"] is not None


def test_a_preview_replaces_a_preview_and_nothing_else(copy: Path) -> None:
    mine = copy / "preview" / "shards" / "mine.tar"
    mine.parent.mkdir(parents=True)
    mine.write_text("precious")
    content = answer("preview", CONFIG, *options(copy), "-n", 1, code=AugmentError.exit_code)
    assert "holds shards/, but no preview.json: it is no preview" in content["error"]
    assert mine.read_text() == "precious"
    mine.unlink()
    (copy / "preview" / "preview.json").write_text('{"finished": false}')  # one that was killed
    (copy / "preview" / "commits").mkdir()
    (copy / "preview" / "commits" / "u000000.json").write_text("of other settings")
    (copy / "preview" / "notes.txt").write_text("precious")
    before = published(copy)
    assert answer("preview", CONFIG, *options(copy), "-n", 1)["planned"] == 2
    assert (copy / "preview" / "notes.txt").read_text() == "precious"
    assert published(copy) == before
