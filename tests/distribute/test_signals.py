"""Signals become an exception: after what is at work, or at once."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from augment.distribute.signals import TookTooLong, interruptible
from augment.errors import Interrupted
from tests.variants import variants


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
@pytest.mark.parametrize("drain_seconds", [0.0, 1.0])
def test_a_signal_becomes_an_exception_once(signum: int, code: int, drain_seconds: float) -> None:
    reached = []

    def be_stopped() -> None:
        with interruptible(drain_seconds) as stop:
            assert not stop.requested
            os.kill(os.getpid(), signum)
            reached.append(stop.requested)
            time.sleep(60)  # until the time is up

    before = [signal.getsignal(s) for s in (signum, signal.SIGALRM)]
    with pytest.raises(Interrupted, match="stopped by SIG") as caught:
        be_stopped()
    assert reached == ([True] if drain_seconds else [])
    assert 128 + caught.value.signum == code
    assert [signal.getsignal(s) for s in (signum, signal.SIGALRM)] == before


def test_a_second_signal_does_not_wait() -> None:
    def be_stopped() -> None:
        with interruptible(3600.0) as stop:
            os.kill(os.getpid(), signal.SIGTERM)
            assert stop.requested
            os.kill(os.getpid(), signal.SIGINT)
            pytest.fail("went on")

    before = signal.getitimer(signal.ITIMER_REAL)  # that of pytest's own time limit
    with pytest.raises(Interrupted, match="SIGINT"):
        be_stopped()
    assert signal.getitimer(signal.ITIMER_REAL) <= before


def test_what_takes_too_long_is_interrupted_once() -> None:
    with interruptible(3600.0) as stop:
        with stop.limited(60.0):
            pass
        with pytest.raises(TookTooLong), stop.limited(0.05):
            time.sleep(30)
        with stop.limited(60.0):
            os.kill(os.getpid(), signal.SIGALRM)  # of a block before
        stop.check_time()


class SlowStart(threading.Thread):
    """A thread that has long begun when its `start` returns, as on a busy machine."""

    def start(self) -> None:
        super().start()
        time.sleep(30)


def test_a_time_that_is_over_before_its_watch_has_begun_ends_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    with interruptible(3600.0) as stop:
        monkeypatch.setattr(threading, "Thread", SlowStart)
        with pytest.raises(TookTooLong), stop.limited(0.05):
            pytest.fail("the block began")
        stop.check_time()
    assert not [thread for thread in threading.enumerate() if thread.name == "augment-time-limit"]  # it would exit


@pytest.fixture
def alarms() -> Iterator[list[int]]:
    """Signals that reach a handler of somebody else's, whose timer each test sets."""
    heard: list[int] = []
    left, began = signal.getitimer(signal.ITIMER_REAL)[0], time.monotonic()
    before = signal.signal(signal.SIGALRM, lambda signum, frame: heard.append(signum))
    yield heard
    signal.signal(signal.SIGALRM, before)
    signal.setitimer(signal.ITIMER_REAL, max(left - (time.monotonic() - began), 0.0))  # pytest's own time limit


def wait_for(heard: list[int]) -> None:
    deadline = time.monotonic() + 30
    while not heard and time.monotonic() < deadline:
        time.sleep(0.01)


@pytest.mark.parametrize("drain_seconds", [0.0, 3600.0])
def test_a_timer_of_somebody_elses_goes_off_in_the_block(alarms: list[int], drain_seconds: float) -> None:
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    with interruptible(drain_seconds) as stop:
        wait_for(alarms)
        assert not stop.requested
    assert alarms == [signal.SIGALRM]
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)  # not a second time


def test_a_timer_of_somebody_elses_that_was_replaced_goes_off_after_the_block(alarms: list[int]) -> None:
    def be_stopped(seconds: float = 0.0) -> None:
        with interruptible(3600.0):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(seconds)

    signal.setitimer(signal.ITIMER_REAL, 60.0)
    with pytest.raises(Interrupted, match="SIGTERM"):
        be_stopped()
    assert 0 < signal.getitimer(signal.ITIMER_REAL)[0] <= 60.0
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    with pytest.raises(Interrupted, match="SIGTERM"):
        be_stopped(seconds=0.4)
    wait_for(alarms)
    assert alarms == [signal.SIGALRM]


@pytest.mark.ray
@pytest.mark.timeout(120)
@pytest.mark.parametrize("drain_seconds", variants([0.0, 0.5], kept=[0.0]))
def test_a_signal_while_ray_waits_is_no_error_of_ray(ray_session: Any, drain_seconds: float) -> None:
    """In its native code, which turns the exception into a SystemError."""

    def endless() -> None:
        time.sleep(3600)

    def wait(task: Any) -> None:
        with interruptible(drain_seconds):
            timer = threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGTERM))
            timer.start()
            try:
                ray_session.wait([task], timeout=3)
            finally:
                timer.join()  # on a busy machine the signal may come late, but not after this block

    task = ray_session.remote(endless).remote()
    with pytest.raises(Interrupted, match="SIGTERM"):
        wait(task)
    ray_session.cancel(task, force=True)


def test_another_system_error_stays_one() -> None:
    with pytest.raises(SystemError, match="not a signal"), interruptible():
        raise SystemError("not a signal")


def test_outside_of_the_main_thread_nothing_is_limited() -> None:
    with interruptible() as stop, ThreadPoolExecutor(1) as pool:

        def sleep() -> bool:
            with stop.limited(0.01):
                time.sleep(0.1)
            return True

        assert pool.submit(sleep).result()
