"""A local run whose inputs are away for a while, or whose worker hangs: nothing fails that is not broken."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from augment.distribute import local, outage, signals
from augment.distribute.config import RunConfig, Watch
from augment.distribute.local import run_local
from augment.distribute.signals import HUNG_EXIT_CODE
from augment.errors import UnreachableError
from augment.inputs import locate
from augment.ledger.ledger import Ledger
from augment.run import source_files
from augment.run.batch import DecodedImage, RawEdits
from augment.run.simulate import SimulatedEditor
from augment.run.worker import Worker
from augment.types import UnitReport
from tests.distribute.events import Events
from tests.run.runs import ROOT
from tests.run.workers import SOURCES, UNIT, records, worker_config

UNITS = [UNIT, replace(UNIT, unit_id="u000001")]
BAD = SOURCES[2].key


HANGS = threading.Event()


class Hanging(SimulatedEditor):
    """An editor that never comes back from one image, and says so."""

    def edit(self, batch: Sequence[DecodedImage]) -> list[RawEdits]:
        if any(image.planned.source.key == BAD for image in batch):
            HANGS.set()
            threading.Event().wait()
        return super().edit(batch)


class UntilItHangs(threading.Event):
    """The end of a unit, awaited until the editor hangs instead of for a time, which another unit might take, too."""

    def wait(self, timeout: float | None = None) -> bool:
        while not self.is_set() and not HANGS.is_set():
            super().wait(0.01)
        HANGS.clear()
        return self.is_set()


def run(out: Path, watch: Watch, make_editor: Any = SimulatedEditor, **settings: Any) -> Iterator[UnitReport]:
    config = RunConfig(executor="local", **settings)
    return run_local(worker_config(out), UNITS, config, partial(Worker, make_editor=make_editor), watch=watch)


def sums(reports: Sequence[UnitReport]) -> list[str]:
    return [report.sha256 for report in reports]


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """`times`: how many of the next openings of the inputs fail; each is tried three times, and three others once."""
    state = {"times": 0}
    really_read, lock = locate.read_range, threading.Lock()

    def read_range(path: str, start: int, size: int) -> bytes:
        with locate.reaching(path), lock:
            if state["times"] > 0:
                state["times"] -= 1
                raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), path)
        return really_read(path, start, size)

    monkeypatch.setattr("augment.inputs.shard_listing.read_range", read_range)
    monkeypatch.setattr(source_files, "PAUSES", (0.0, 0.0))
    monkeypatch.setattr(local, "BACKOFF_SECONDS", 0.0)
    return state


def test_inputs_that_are_away_for_a_while_are_waited_for(tmp_path: Path, away: dict[str, int]) -> None:
    undisturbed = list(run(tmp_path / "undisturbed", Events()))
    watch, reports = Events(), []
    for report in run(tmp_path / "out", watch):
        reports.append(report)
        away["times"] = 40 if len(reports) == 1 else 0
    assert sums(reports) == sums(undisturbed)
    assert [report.failed for report in reports] == [0, 0]
    # 6 x 6 fail; then the file and two others do, and the third answers.
    assert watch.kinds == ["not read"] * 6
    assert watch.seen[0][1]["unit"] == "u000001"
    assert "Stale file handle" in watch.seen[0][1]["reason"]
    assert not list((tmp_path / "out" / "run" / "in_flight").iterdir())


def test_inputs_that_stay_away_end_the_run_and_fail_nothing(
    tmp_path: Path, away: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outage, "OUTAGE_SECONDS", -1.0)
    reports = []

    def be_cut_off() -> None:
        for report in run(tmp_path, Events()):
            reports.append(report)
            away["times"] = 10**9

    with pytest.raises(
        UnreachableError, match=r"Stale file handle\. Neither .* is finished is kept; .* the same command"
    ):
        be_cut_off()
    assert Ledger(tmp_path).committed() == {"u000000": reports[0]}
    away["times"] = 0
    watch = Events()
    assert [report.failed for report in run(tmp_path, watch)] == [0, 0]
    assert watch.kinds == []  # nobody is a suspect


def test_a_unit_that_hangs_is_ended_and_its_input_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "threading", SimpleNamespace(**vars(threading) | {"Event": UntilItHangs}))
    watch = Events()
    reports = list(run(tmp_path, watch, Hanging, unit_timeout=600.0))
    assert [(report.unit_id, report.edited, report.failed) for report in reports] == [
        ("u000000", 6, 2),
        ("u000001", 6, 2),
    ]
    found = {r.source_key: (r.stage, r.reason) for r in records(tmp_path, reports[0]).values() if r.status == "failed"}
    assert found == {BAD: ("quarantine", "killed its worker 2 times, alone")}
    assert watch.kinds == ["worker hangs", "worker died"] * 3 + ["quarantine"]
    hung, died = watch.seen[0][1], watch.seen[1][1]
    assert hung == {"units": ["u000000"], "seconds": 600.0}
    assert died["reason"] == "the worker was ended because it did not end the unit in time"
    assert died["begun"] == [source.key for source in SOURCES]


@pytest.mark.slow
def test_a_unit_that_nothing_interrupts_ends_the_process_and_the_next_run_finds_its_input(tmp_path: Path) -> None:
    script = f"""
    import sys, time
    from pathlib import Path
    from augment.distribute import signals
    from tests.run.test_outages import Events, Hanging, SimulatedEditor, run

    signals.GRACE_SECONDS = 0.2

    class Deaf(Hanging):
        def edit(self, batch):
            while True:
                try:
                    return super().edit(batch)
                except BaseException:
                    pass

    list(run(Path({str(tmp_path)!r}), Events(), Deaf, unit_timeout=8.0))
    """
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", textwrap.dedent(script)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == HUNG_EXIT_CODE == 142, done.stderr
    assert "has not ended within 8 s and lets nothing interrupt it, so this process ends" in done.stderr
    assert "in edit" in done.stderr  # where it hangs
    assert Ledger(tmp_path).committed() == {}
    watch = Events()
    reports = list(run(tmp_path, watch, Hanging, unit_timeout=8.0))
    assert [report.failed for report in reports] == [2, 2]
    assert watch.kinds == ["worker hangs", "worker died"] * 2 + [
        "quarantine"
    ]  # its first death was that of the process


def test_a_model_that_cannot_write_its_cache_fails_the_edit_and_is_no_output_that_is_full(tmp_path: Path) -> None:
    class Full(SimulatedEditor):
        def edit(self, batch: Sequence[DecodedImage]) -> list[RawEdits]:
            if any(image.planned.source.key == BAD for image in batch):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "cache")
            return super().edit(batch)

    reports = list(run(tmp_path, Events(), Full))
    assert [(report.edited, report.failed, report.failed_by_stage) for report in reports] == [(6, 2, {"edit": 2})] * 2
    (reason,) = {r.reason for r in records(tmp_path, reports[0]).values() if r.status == "failed"}
    assert reason == "OSError: [Errno 28] No space left on device: 'cache'"
