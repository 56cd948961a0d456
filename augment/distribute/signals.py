"""SIGTERM and SIGINT as a request to stop, and a limit on the time of what is at work in this process.

After a request to stop, units in flight may finish within a limited time, then the run ends.
"""

from __future__ import annotations

import contextlib
import faulthandler
import logging
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType

from augment.errors import Interrupted

logger = logging.getLogger(__name__)
GRACE_SECONDS = 60.0  # in which code that took too long has to let an exception through
HUNG_EXIT_CODE = 128 + signal.SIGALRM


class TookTooLong(BaseException):
    """Say that what was at work took longer than it may. No `Exception`, for the reason that `Interrupted` is none."""


class StopRequest:
    """Says whether a signal has asked this process to stop.

    Attributes:
        signum: number of that signal; 0 if none has come.
    """

    def __init__(self) -> None:
        self.signum = 0
        self._at_work: object | None = None  # stands for a block of `limited`, while it lasts
        self._overdue: object | None = None  # one that has taken too long

    @property
    def requested(self) -> bool:
        """Return whether a signal has come."""
        return self.signum != 0

    def check(self) -> None:
        """Raise Interrupted if a signal has come."""
        if self.signum:
            raise Interrupted(self.signum)

    def check_time(self) -> None:
        """Raise TookTooLong if the block at work is overdue."""
        if self._at_work is not None and self._at_work is self._overdue:
            self._at_work = None
            raise TookTooLong

    @contextlib.contextmanager
    def limited(self, seconds: float) -> Iterator[None]:
        """Raise TookTooLong in the block once so many seconds are over.

        Code that waits in a library of the system or computes in one does not see an exception. If the block goes on
        for `GRACE_SECONDS` after it, the process says where it hangs and ends, with `HUNG_EXIT_CODE`. Outside of the
        main thread, and with an infinite time, nothing is limited.
        """
        if threading.current_thread() is not threading.main_thread() or math.isinf(seconds):
            yield
            return
        block, ended, main = object(), threading.Event(), threading.get_ident()

        def watch() -> None:
            if ended.wait(seconds):
                return
            self._overdue = block
            signal.pthread_kill(main, signal.SIGALRM)
            if not ended.wait(GRACE_SECONDS):
                _end_process(seconds)

        thread = threading.Thread(target=watch, name="augment-time-limit", daemon=True)
        self._at_work = block
        try:
            try:
                thread.start()  # on a busy machine the time may be over before it returns
                yield
            finally:
                ended.set()
        finally:  # the signal may have come between the end of the block and the line above
            ended.set()
            self._at_work = None
            if thread.is_alive():  # one that has not begun yet will see that the block has ended
                thread.join()  # afterwards no signal comes


def _end_process(seconds: float) -> None:
    logger.error(
        "what is at work has not ended within %.0f s and lets nothing interrupt it, so this process ends. Finished "
        "units are kept; the same command goes on from there, and tries alone what was being edited.",
        seconds,
    )
    if sys.__stderr__ is not None:
        faulthandler.dump_traceback(sys.__stderr__)
    os._exit(HUNG_EXIT_CODE)


@contextlib.contextmanager
def _alarms_to(ours: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Lead SIGALRM to a function while the block lasts.

    A timer that somebody has set before goes on: its handler is called when it is due, or else, if the block has set
    another time, right after the block.
    """
    theirs = signal.getsignal(signal.SIGALRM)
    seconds, interval = signal.getitimer(signal.ITIMER_REAL)
    due, was_called = time.monotonic() + (seconds or math.inf), False

    def handle(signum: int, frame: FrameType | None) -> None:
        nonlocal was_called
        ours(signum, frame)
        if time.monotonic() >= due and callable(theirs) and not was_called:
            was_called = True
            theirs(signum, frame)

    signal.signal(signal.SIGALRM, handle)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, theirs or signal.SIG_DFL)
        if seconds and not was_called:
            signal.setitimer(signal.ITIMER_REAL, max(due - time.monotonic(), 1e-3), interval)


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
    before = {signum: signal.getsignal(signum) for signum in handled}

    def ask(signum: int, frame: FrameType | None) -> None:
        if stop.requested or not drain_seconds:
            for each in handled:
                signal.signal(each, signal.SIG_DFL)
            signal.setitimer(signal.ITIMER_REAL, 0)
            stop.signum = signum
            raise Interrupted(signum)
        stop.signum = signum
        signal.setitimer(signal.ITIMER_REAL, drain_seconds)

    def time_is_over(signum: int, frame: FrameType | None) -> None:
        stop.check()
        stop.check_time()

    with _alarms_to(time_is_over):
        for signum in handled:
            signal.signal(signum, ask)
        try:
            yield stop
            stop.check()  # the block may have ended before it looked at the request
        except SystemError as error:  # what Ray's native code makes of an exception that is raised while it waits
            if isinstance(error.__cause__, Interrupted):
                raise error.__cause__ from None
            raise
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            for signum, handler in before.items():
                signal.signal(signum, handler or signal.SIG_DFL)
