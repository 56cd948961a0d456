"""Progress of a run on a clock that the test sets."""

from __future__ import annotations

import io
import json
import signal
import threading
from dataclasses import replace

import pytest

from augment.report.display import display
from augment.report.progress import RunProgress, duration
from augment.types import UnitReport

UNIT = UnitReport("u000000", "plan", "part", "sha", planned=10, edited=10, failed=0, seconds={})


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def failing(**by_stage: int) -> UnitReport:
    failed = sum(by_stage.values())
    return replace(UNIT, edited=10 - failed, failed=failed, failed_by_stage=by_stage)


def test_counts_of_this_run_and_of_those_before() -> None:
    progress = RunProgress(40, [failing(decode=2), UNIT], Clock())
    assert (progress.done, progress.edited, progress.failed) == (20, 18, 2)
    progress.observe(replace(failing(decode=1, worker=3), provisional={"accepted": 4, "label_probability": 2}))
    assert (progress.done, progress.edited, progress.failed) == (30, 24, 6)
    assert progress.failed_by_stage == {"decode": 3, "worker": 3}
    assert progress.rejected == {"label_probability": 2}


def test_edits_of_earlier_runs_do_not_count_towards_the_rate() -> None:
    clock = Clock()
    progress = RunProgress(100, [UNIT] * 5, clock)
    assert (progress.rate, progress.eta_seconds) == (None, None)
    clock.now += 20
    progress.observe(UNIT)
    assert (progress.rate, progress.eta_seconds) == (0.5, 80.0)


def test_the_rate_is_that_of_the_last_minutes() -> None:
    clock = Clock()
    progress = RunProgress(10_000, (), clock)
    for _ in range(60):  # 10 edits every 10 s
        clock.now += 10
        progress.observe(UNIT)
    assert progress.rate == 1.0
    for _ in range(18):  # then 40: after 180 s nothing of the slow time is left
        clock.now += 10
        progress.observe(replace(UNIT, planned=40, edited=40))
    assert progress.rate == 4.0
    assert progress.eta_seconds == (10_000 - 600 - 720) / 4.0
    clock.now += 180  # nothing comes any more
    assert progress.rate == 2.0


def test_units_longer_than_the_window_have_a_rate_too() -> None:
    clock = Clock()
    progress = RunProgress(100, (), clock)
    for _ in range(3):
        clock.now += 1000
        progress.observe(UNIT)
    assert progress.rate == 0.01


def test_no_time_is_left_when_all_is_done() -> None:
    assert RunProgress(10, [UNIT], Clock()).eta_seconds == 0.0
    assert RunProgress(10, [UNIT], Clock()).line() == "10/10 edits, 0 workers, rejected 0, failed 0"


def test_the_line() -> None:
    clock = Clock()
    progress = RunProgress(1536, (), clock)
    progress.workers = 2
    clock.now += 25
    done = {"accepted": 346, "label_probability": 4, "reconstruction_psnr": 2, "text_alignment": 0}
    progress.observe(replace(UNIT, planned=355, edited=352, failed=3, failed_by_stage={"read": 3}, provisional=done))
    assert progress.line() == (
        "355/1536 edits, 14.2/s, ETA 1 min 23 s, 2 workers, rejected 6 (label_probability 4, reconstruction_psnr 2), "
        "failed 3 (read 3)"
    )


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.4, "0 s"),
        (59.6, "1 min 0 s"),
        (79, "1 min 19 s"),
        (3599.6, "1 h 00 min"),
        (11_100, "3 h 05 min"),
        (86_399, "1 d 0 h"),
        (187_200, "2 d 4 h"),
    ],
)
def test_duration(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_mean_psnr_is_over_inverted_images() -> None:
    progress = RunProgress(20, [replace(UNIT, psnr_sum=50.0, vae_psnr_sum=60.0, inverted=2)], Clock())
    progress.observe(replace(UNIT, psnr_sum=40.0, vae_psnr_sum=33.0, inverted=1))
    numbers = progress.as_dict()
    assert (numbers["mean_reconstruction_psnr"], numbers["mean_vae_psnr"]) == (30.0, 31.0)
    assert json.loads(json.dumps(numbers)) == numbers
    assert RunProgress(20).as_dict()["mean_vae_psnr"] is None


def test_busy_share_is_of_the_time_after_loading() -> None:
    progress = RunProgress(20, [replace(UNIT, seconds={"read": 5.0, "wait": 9.0, "model": 7.0})], Clock())
    assert progress.busy_share == 1.0
    progress.observe(replace(UNIT, seconds={"model": 2.0, "idle": 1.0}))
    assert progress.busy_share == 0.9
    assert RunProgress(20).busy_share is None


def test_off_a_terminal_a_first_line_one_per_interval_and_a_last() -> None:
    clock, stream = Clock(), io.StringIO()
    progress = RunProgress(100, (), clock)
    with display(progress, stream) as tick:
        for _ in range(9):
            clock.now += 10
            progress.observe(UNIT)
            tick()
    lines = [line.split(",")[0] for line in stream.getvalue().splitlines()]
    assert lines == ["0/100 edits", "30/100 edits", "60/100 edits", "90/100 edits", "90/100 edits"]


def test_the_last_line_is_told_of_a_run_that_is_stopped() -> None:
    stream = io.StringIO()
    progress = RunProgress(100, (), Clock())

    def stopped() -> None:
        with display(progress, stream):
            progress.observe(UNIT)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert [line.split(",")[0] for line in stream.getvalue().splitlines()] == ["0/100 edits", "10/100 edits"]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True

    def take(self) -> str:
        """What was written since the last time."""
        text = self.getvalue()
        self.seek(0)
        self.truncate()
        return text


def test_on_a_terminal_a_live_display_without_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    clock, stream = Clock(), Terminal()
    progress = RunProgress(40, (), clock)
    handlers, threads = signal.getsignal(signal.SIGTERM), set(threading.enumerate())
    with display(progress, stream) as tick:
        progress.workers = 2
        clock.now += 10
        progress.observe(replace(UNIT, provisional={"psnr_gap": 1}, psnr_sum=58.0, vae_psnr_sum=59.0, inverted=2))
        tick()
        shown = stream.take()
        assert signal.getsignal(signal.SIGTERM) == handlers
        assert set(threading.enumerate()) <= threads  # those of other tests may end meanwhile
        clock.now += 0.01
        progress.observe(failing(decode=1))
        tick()  # too early to draw again
        assert stream.take() == ""
    for words in ("10/40 edits", "1.0/s", "ETA 30 s", "2 workers", "rejected 1 (psnr_gap 1)", "failed 0"):
        assert words in shown
    assert "reconstruction 29.00 dB; VAE alone, the bound: 29.50 dB" in shown
    last = stream.take()
    assert last.count("20/40 edits") == 1
    assert "failed 1 (decode 1)" in last


def test_a_terminal_that_cannot_move_its_cursor_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    stream = Terminal()
    with display(RunProgress(10, (), Clock()), stream):
        pass
    assert stream.getvalue() == "0/10 edits, 0 workers, rejected 0, failed 0\n" * 2


def test_edits_that_are_only_taken_over_count_for_nothing_in_rate_and_time_left() -> None:
    clock = Clock()
    progress = RunProgress(100, clock=clock, to_keep=60)
    clock.now += 10
    progress.observe(replace(UNIT, planned=50, edited=50, kept=30))
    assert (progress.done, progress.rate) == (50, 2.0)
    assert progress.eta_seconds == (100 - 50 - 30) / 2.0
