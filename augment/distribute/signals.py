"""SIGTERM and SIGINT as a request to stop: units in flight may finish within a limited time, then the run ends."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from augment.errors import Interrupted


class StopRequest:
    """Says whether a signal has asked this process to stop.

    Attributes:
        signum: number of that signal; 0 if none has come.
    """

    def __init__(self) -> None:
        self.signum = 0

    @property
    def requested(self) -> bool:
        """Return whether a signal has come."""
        return self.signum != 0

    def check(self) -> None:
        """Raise Interrupted if a signal has come."""
        if self.signum:
            raise Interrupted(self.signum)


@contextlib.contextmanager
def interruptible(drain_seconds: float = 0.0) -> Iterator[StopRequest]:
    """Note the first SIGTERM or SIGINT; raise `Interrupted` at a second, after `drain_seconds`, or at the block's end.

    A third signal has its default effect and ends the process. Outside of the main thread signals are left alone.

    Args:
        drain_seconds: how long the block may go on after the first signal; 0: the first signal raises.
    """
    stop = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield stop  # Python delivers signals to the main thread only
        return
    handled = (signal.SIGTERM, signal.SIGINT)
    before = {signum: signal.getsignal(signum) for signum in (*handled, signal.SIGALRM)}

    def ask(signum: int, frame: FrameType | None) -> None:
        if stop.requested or not drain_seconds:
            for each in handled:
                signal.signal(each, signal.SIG_DFL)
            signal.setitimer(signal.ITIMER_REAL, 0)
            stop.signum = signum
            raise Interrupted(signum)
        stop.signum = signum
        signal.setitimer(signal.ITIMER_REAL, drain_seconds)

    def drain_is_over(signum: int, frame: FrameType | None) -> None:
        stop.check()

    for signum in handled:
        signal.signal(signum, ask)
    signal.signal(signal.SIGALRM, drain_is_over)
    try:
        yield stop
        stop.check()  # the block may have ended before it looked at the request
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for signum, handler in before.items():
            signal.signal(signum, handler or signal.SIG_DFL)
