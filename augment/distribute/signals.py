"""SIGTERM and SIGINT as a request to end well: finish what is in flight, for a while, and stop."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from augment.errors import Interrupted


class Stop:
    """Whether a signal has come; `check()` where stopping is cheap."""

    def __init__(self) -> None:
        self.signum = 0

    @property
    def requested(self) -> bool:
        return self.signum != 0

    def check(self) -> None:
        """Raise Interrupted if a signal has come."""
        if self.signum:
            raise Interrupted(self.signum)


@contextlib.contextmanager
def interruptible(drain_seconds: float = 0.0) -> Iterator[Stop]:
    """Note the first SIGTERM or SIGINT; raise `Interrupted` at a second, after `drain_seconds`, or at the block's end.

    A third one has its usual, immediate effect.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop  # Python delivers signals to the main thread only
        return
    asking = (signal.SIGTERM, signal.SIGINT)
    before = {signum: signal.getsignal(signum) for signum in (*asking, signal.SIGALRM)}

    def ask(signum: int, frame: FrameType | None) -> None:
        if stop.requested or not drain_seconds:
            for each in asking:
                signal.signal(each, signal.SIG_DFL)
            signal.setitimer(signal.ITIMER_REAL, 0)
            stop.signum = signum
            raise Interrupted(signum)
        stop.signum = signum
        signal.setitimer(signal.ITIMER_REAL, drain_seconds)

    def time_is_up(signum: int, frame: FrameType | None) -> None:
        stop.check()

    for signum in asking:
        signal.signal(signum, ask)
    signal.signal(signal.SIGALRM, time_is_up)
    try:
        yield stop
        stop.check()  # the last unit's end is no reason to go on
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for signum, handler in before.items():
            signal.signal(signum, handler or signal.SIG_DFL)
