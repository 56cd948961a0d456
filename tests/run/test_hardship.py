"""The whole job on damaged inputs, and killed again and again."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
import zlib
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from augment.dataset.index import read_index
from augment.dataset.record import edit_key
from augment.dataset.verify import verify
from augment.inputs.images import encode_png
from augment.ledger.in_flight import InFlight
from augment.ledger.ledger import Ledger
from augment.run.config import load_expand_config
from augment.run.expand import expand
from augment.run.simulate import SimulatedEditor
from augment.run.worker import Worker
from tests.malformed import malformed_inputs
from tests.run.chaos_driver import POISON
from tests.run.runs import (
    CONFIG,
    ROOT,
    call,
    expand_command,
    overrides,
    published,
)


def test_every_malformed_input_has_its_row_and_its_reason(tmp_path: Path) -> None:
    bad = malformed_inputs()
    assert len(bad) >= 40
    folder = tmp_path / "data" / "fox"
    folder.mkdir(parents=True)
    for name, data in bad.items():
        (folder / name).write_bytes(data)
    (folder / "good.png").write_bytes(encode_png(np.full((64, 64, 3), 99, np.uint8)))
    data = (f"input.path={tmp_path / 'data'}", "input.format=imagefolder", "input.limit=null")
    alone = "filters.min_label_probability=null"  # one class: there is nothing to compare its word with
    more = (*data, alone, "run.unit_size=8", "budget={max_failed: 1, max_failed_per_class: 1}")
    config = load_expand_config(CONFIG, overrides(tmp_path / "out", *more))
    summary = expand(config, make_worker=partial(Worker, make_editor=SimulatedEditor))
    assert (summary.manifest["planned"], summary.manifest["failed"]) == (2 * len(bad) + 2, 2 * len(bad))
    assert verify(tmp_path / "out").problems == []
    rows = {row["key"]: row for row in read_index(tmp_path / "out" / "index.parquet")}
    failed = [row for row in rows.values() if row["status"] == "failed"]
    assert {row["stage"] for row in failed} == {"decode"}
    assert all(row["reason"] and "\n" not in row["reason"] for row in failed)
    assert rows[edit_key("fox/good", 0)]["status"] != "failed"


@pytest.mark.slow
def test_a_local_run_after_a_killed_one_of_ray_blames_what_its_own_death_proves(tmp_path: Path) -> None:
    """Planted: a local run died alone with the poison, twice; a worker of Ray died with the owl, once, then its driver.

    Then a local run is killed with SIGKILL while it edits the fox, and another one goes to the end.
    """
    unlucky = next(key for key in (f"fox/{i}" for i in range(99)) if zlib.crc32(key.encode()) % 20 == 0)
    pixels = np.full((16, 16, 3), 99, np.uint8)
    poison = pixels.copy()
    poison[0, 0] = POISON
    for key, picture in ((unlucky, pixels), ("owl/poor", pixels + 1), ("owl/poison", poison)):
        (tmp_path / "data" / key).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / f"{key}.png").write_bytes(encode_png(picture))
    (tmp_path / "deaths").mkdir()
    out = tmp_path / "out"
    more = (f"input={{path: {tmp_path / 'data'}, format: imagefolder, image_size: 16}}", "run.unit_size=8")
    config = load_expand_config(CONFIG, overrides(out, *more))
    (tmp_path / "job.yaml").write_text(config.model_dump_json())  # JSON is YAML
    command = [sys.executable, "tests/run/chaos_driver.py", str(tmp_path / "job.yaml"), str(tmp_path / "deaths")]

    def no_worker(config: object) -> Worker:
        raise OSError("the plan is all that is wanted")

    with pytest.raises(OSError, match="the plan"):
        expand(config, make_worker=no_worker)
    store, unit = Ledger(out).store, next(Ledger(out).units()).unit_id
    store.write("run/suspects.json", b'{"owl/poison": 1, "owl/poor": 1}')
    InFlight(store, unit, "local", in_driver=True).begin(["owl/poison"], alone=True)
    InFlight(store, unit, "ray").begin(["owl/poor"], alone=True)
    assert call(command).returncode == -signal.SIGKILL
    (left,) = store.list("run/in_flight")
    assert json.loads(store.read(left))["in_driver"]
    done = call(command)
    assert done.returncode == 0, done.stderr
    failed = [row for row in read_index(out / "index.parquet") if row["status"] == "failed"]
    assert {(row["source_key"], row["stage"]) for row in failed} == {("owl/poison", "quarantine")}
    (report,) = Ledger(out).committed().values()
    assert report.seconds["alone"] > 0  # the fox, which was in flight


def commits(out: Path) -> int:
    return len(list((out / "commits").glob("u*.json")))


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_run_killed_ten_times_gives_the_same_bytes(tmp_path: Path) -> None:
    more = ("input.limit=32", "run.unit_size=1")
    expand(load_expand_config(CONFIG, overrides(tmp_path / "undisturbed", *more)))
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    when = random.Random(0)
    command = expand_command(tmp_path / "out", *more)
    kills = 0
    for _ in range(10):
        wanted = commits(tmp_path / "out") + when.randrange(3)
        with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=-3, stderr=-3) as driver:
            time.sleep(when.uniform(0.0, 3.0))
            while driver.poll() is None and commits(tmp_path / "out") < wanted:
                time.sleep(0.01)
            if driver.poll() is None:
                driver.kill()
                kills += 1
    assert kills >= 3  # a quick machine is done before the tenth
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, timeout=100)
    assert published(tmp_path / "out") == published(tmp_path / "undisturbed")
    assert verify(tmp_path / "out").problems == []
