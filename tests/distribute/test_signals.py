"""Signals become an exception: after what is at work, or at once."""

from __future__ import annotations

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from augment.distribute.signals import TookTooLong, interruptible
from augment.errors import Interrupted


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
@pytest.mark.parametrize("drain_seconds", [0.0, 0.05])
def test_a_signal_becomes_an_exception_once(signum: int, code: int, drain_seconds: float) -> None:
    reached = []

    def be_stopped() -> None:
        with interruptible(drain_seconds) as stop:
            assert not stop.requested
            os.kill(os.getpid(), signum)
            reached.append(stop.requested)
            signal.pause()  # until the time is up

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

    with pytest.raises(Interrupted, match="SIGINT"):
        be_stopped()
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_what_takes_too_long_is_interrupted_once() -> None:
    with interruptible(3600.0) as stop:
        with stop.limited(60.0):
            pass
        with pytest.raises(TookTooLong), stop.limited(0.05):
            signal.pause()
        with stop.limited(60.0):
            os.kill(os.getpid(), signal.SIGALRM)  # of a block before
        stop.check_time()


@pytest.mark.ray
@pytest.mark.timeout(120)
@pytest.mark.parametrize("drain_seconds", [0.0, 0.5])
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
