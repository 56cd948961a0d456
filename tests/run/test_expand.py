"""The main job end to end on the embedded model: accounting, resuming, and the same bytes whatever happened."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from PIL import Image

from augment.cli.output import PROBLEMS
from augment.dataset.overview import FILES
from augment.dataset.verify import verify
from augment.errors import ConfigError, OutputError
from augment.ledger.ledger import Ledger
from augment.run.config import load_expand_config
from augment.run.expand import expand
from augment.run.finalize import finalize
from augment.tiny.dataset import split_path
from augment.tiny.world import CLASSES
from tests.cli.invoke import answer, invoke, options
from tests.run.runs import (
    CONFIG,
    ROOT,
    call,
    commit_of,
    expand_command,
    overrides,
    published,
    written,
)
from tests.variants import variants


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of a local run that nothing happened to."""
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    expand(load_expand_config(CONFIG, overrides(out)))
    return out


def test_everything_planned_is_accounted_for(undisturbed: Path) -> None:
    result = verify(undisturbed, FILES)
    assert result.problems == []
    plan = Ledger(undisturbed).read_plan()
    assert plan is not None
    assert plan.class_names == dict(enumerate(CLASSES))  # of the whole split, though only 8 images are edited
    assert (result.planned, result.failed) == (16, 0)
    assert result.accepted + result.rejected == 16
    assert {"config.resolved.yaml", "env.json", "events.jsonl"} <= {p.name for p in (undisturbed / "run").iterdir()}
    with Image.open(undisturbed / "contact_sheet.png") as sheet:
        assert sheet.width == 4 * 138 + 10  # source, reconstruction, two edits
    assert f"{result.accepted} of 16 accepted" in (undisturbed / "report.html").read_text()


def test_again_does_nothing(undisturbed: Path) -> None:
    before = written(undisturbed)
    summary = expand(load_expand_config(CONFIG, overrides(undisturbed)))
    assert written(undisturbed) == before
    assert summary.edits_made == 0
    assert summary.lines()[3].endswith("nothing was left to do")


def test_workers_batches_and_paths_may_change_on_resume(undisturbed: Path) -> None:
    more = ("run.num_workers=1", "run.batch_size=3", f"input.path={split_path('train')}")
    before = published(undisturbed)
    summary = expand(load_expand_config(CONFIG, overrides(undisturbed, *more)))
    assert (summary.edits_made, published(undisturbed)) == (0, before)


def test_changed_settings_on_resume_are_refused_with_the_difference(undisturbed: Path) -> None:
    before = written(undisturbed)
    changed = load_expand_config(CONFIG, overrides(undisturbed, "editing.num_steps=5", "seed=1", "input.limit=7"))
    with pytest.raises(OutputError) as caught:
        expand(changed)
    message = str(caught.value)
    for line in (
        "editing.num_steps: 4 in the plan, 5 now",
        "seed: 0 in the plan, 1 now",
    ):
        assert line in message
    assert "variants_per_image" not in message
    assert "input.count" not in message  # a dataset may grow
    assert written(undisturbed) == before


def test_finalize_with_other_thresholds_makes_no_edit(undisturbed: Path) -> None:
    before, parts = published(undisturbed), written(undisturbed / "parts")
    none = finalize(undisturbed, ["filters.min_label_probability=1.0", "filters.min_text_alignment=1.0"]).manifest
    assert (none["accepted"], none["rejected"]) == (0, 16)
    assert list((undisturbed / "shards").iterdir()) == []
    everything = finalize(undisturbed, ["filters={max_psnr_gap: null, min_label_probability: null}"]).manifest
    assert (everything["accepted"], everything["rejected"]) == (16, 0)
    assert [len(list((undisturbed / "shards").glob("*.tar")))] == [4]
    assert verify(undisturbed).problems == []
    with pytest.raises(ConfigError, match=r"editing\.num_steps=3: finalize changes"):
        finalize(undisturbed, ["editing.num_steps=3"])
    expand(load_expand_config(CONFIG, overrides(undisturbed)))  # the config's own thresholds again
    assert published(undisturbed) == before
    assert written(undisturbed / "parts") == parts


@pytest.fixture
def copy(undisturbed: Path, tmp_path: Path) -> Path:
    """The undisturbed output, to be damaged."""
    return Path(shutil.copytree(undisturbed, tmp_path / "copy"))


@pytest.mark.parametrize("lost", variants([[1], [0, 1, 2, 3]], kept=[[1]]))
def test_deleted_commits_are_made_again(undisturbed: Path, copy: Path, lost: list[int]) -> None:
    for number in lost:
        commit_of(copy, number).unlink()
    summary = expand(load_expand_config(CONFIG, overrides(copy)))
    assert summary.edits_made == 4 * len(lost)
    assert published(copy) == published(undisturbed)


def test_commits_without_their_plan_are_refused(copy: Path) -> None:
    shutil.rmtree(copy / "plan")
    with pytest.raises(OutputError, match=r"has commits/, but no plan"):
        expand(load_expand_config(CONFIG, overrides(copy)))
    assert commits(copy) == 4


def test_a_damaged_shard_is_repaired_by_finalize(undisturbed: Path, copy: Path) -> None:
    shard = sorted((copy / "shards").glob("*.tar"))[0]
    data = shard.read_bytes()
    shard.write_bytes(data[:600] + bytes([data[600] ^ 1]) + data[601:])
    assert invoke("verify", copy).exit_code == PROBLEMS
    finalize(copy)
    assert published(copy) == published(undisturbed)


def test_a_missing_report_is_a_problem(copy: Path) -> None:
    (copy / "report.html").unlink()
    done = invoke("verify", copy)
    assert (done.exit_code, done.stderr) == (PROBLEMS, "report.html: missing\n")


def test_a_corrupt_image_costs_its_own_edits(tmp_path: Path) -> None:
    for name in ("fox/good.png", "owl/also good.png", "owl/bad.png"):
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (80, 64), "orange").save(tmp_path / "data" / name)
    good = (tmp_path / "data" / "owl" / "bad.png").read_bytes()
    (tmp_path / "data" / "owl" / "bad.png").write_bytes(good[: len(good) // 2])
    more = (f"input.path={tmp_path / 'data'}", "input.format=imagefolder", "filters={min_label_probability: null}")
    summary = expand(load_expand_config(CONFIG, overrides(tmp_path / "out", *more)))
    assert (summary.manifest["planned"], summary.manifest["failed"]) == (6, 2)
    assert summary.manifest["reasons"]["failed: decode"] == 2
    assert verify(tmp_path / "out").problems == []


def commits(out: Path) -> int:
    return len(list((out / "commits").glob("u*.json")))


SLOWLY = """
import time
from augment.cli.main import app
from augment.ledger.ledger import Ledger

commit = Ledger.commit

def commit_slowly(*args, **options):
    found = commit(*args, **options)
    time.sleep(2)  # so that a run in this process is struck before its end
    return found

Ledger.commit = commit_slowly
app()
"""


def disturb(out: Path, strike: Callable[[subprocess.Popen[str]], None], executor: str) -> int:
    """Start a run, strike once it has committed a unit and before its last is, and return its exit code."""
    before = commits(out)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    arguments = expand_command(out, executor=executor)[3:]
    with subprocess.Popen(
        [sys.executable, "-c", SLOWLY, *arguments],
        cwd=ROOT,
        env=environment,
        text=True,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as driver:
        deadline = time.monotonic() + 240
        while commits(out) == before:
            assert driver.poll() is None, driver.stderr and driver.stderr.read()
            assert time.monotonic() < deadline, "no unit was committed"
            time.sleep(0.005)
        strike(driver)
        driver.communicate(timeout=100)
    return driver.returncode


def ray_actors(driver: int) -> list[int]:
    """Processes of the pool's actors that descend from a driver."""
    parents, actors = {}, []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                if (entry / "cmdline").read_bytes().startswith(b"ray::WorkerActor"):
                    actors.append(int(entry.name))
            except OSError:
                continue  # it ended meanwhile

    def descends(pid: int) -> bool:
        while pid > 1 and pid != driver:
            pid = parents.get(pid, 0)
        return pid == driver

    return [pid for pid in actors if descends(pid)]


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(900)
def test_ray_gives_the_same_bytes_after_a_worker_and_the_driver_were_killed(undisturbed: Path, tmp_path: Path) -> None:
    def kill_worker(driver: subprocess.Popen[str]) -> None:
        os.kill(ray_actors(driver.pid)[0], signal.SIGKILL)

    assert disturb(tmp_path / "worker", kill_worker, "ray") == 0
    assert published(tmp_path / "worker") == published(undisturbed)

    # In a folder of its own: workers outlive their driver, and one that commits late is not the next driver's.
    assert disturb(tmp_path / "driver", subprocess.Popen.kill, "ray") == -signal.SIGKILL
    assert 1 <= commits(tmp_path / "driver") < 4
    assert not (tmp_path / "driver" / "manifest.json").exists()
    done = call(expand_command(tmp_path / "driver", executor="ray"))
    assert done.returncode == 0, done.stderr
    assert published(tmp_path / "driver") == published(undisturbed)
    assert verify(tmp_path / "driver").problems == []


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_processes_of_this_machine_give_the_same_bytes(
    undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("augment.run.expand.in_one_process", lambda run, device: False)  # as with `cuda:all`
    monkeypatch.setattr("augment.run.devices.places_here", lambda run: ["", ""])
    expand(load_expand_config(CONFIG, overrides(tmp_path)))
    assert published(tmp_path) == published(undisturbed)


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("signum", "code"),
    [
        pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow),  # the other drivers' tests have it too
        pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow),  # handled as SIGTERM is
        (signal.SIGKILL, -signal.SIGKILL),
    ],
)
def test_a_stopped_local_run_goes_on(undisturbed: Path, tmp_path: Path, signum: int, code: int) -> None:
    assert disturb(tmp_path, lambda driver: driver.send_signal(signum), "local") == code
    assert 1 <= commits(tmp_path) < 4
    expand(load_expand_config(CONFIG, overrides(tmp_path)))
    assert published(tmp_path) == published(undisturbed)


def test_commands_print_what_others_rely_on(undisturbed: Path) -> None:
    again = invoke("expand", CONFIG, *options(undisturbed))
    assert again.exit_code == 0, again.stderr
    lines = again.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["shards", "edits", "reconstruction", "speed", "contact"]
    result = verify(undisturbed)
    assert lines[1].endswith(f"16 planned = {result.accepted} accepted + {result.rejected} rejected + 0 failed")
    assert answer("verify", undisturbed) == result.as_dict()


def test_nothing_of_this_machine_is_in_what_is_published(undisturbed: Path) -> None:
    resolved = yaml.safe_load((undisturbed / "run" / "config.resolved.yaml").read_text())
    assert resolved["output"]["path"] == str(undisturbed)  # here it belongs
    for path in (undisturbed / name for name in published(undisturbed)):
        content = path.read_bytes()
        for place in (undisturbed, ROOT):
            assert str(place).encode() not in content, path
