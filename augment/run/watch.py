"""What a driver does while its workers are at work: it keeps the log, the status file, the display and its lease."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from augment.distribute.config import Watch
from augment.ledger.lease import Lease
from augment.ledger.ledger import Ledger
from augment.report.progress import RunProgress

logger = logging.getLogger(__name__)
STATUS_SECONDS = 10.0
Display = Callable[[RunProgress], AbstractContextManager[Callable[[], None]]]


def no_display(progress: RunProgress) -> AbstractContextManager[Callable[[], None]]:
    """Show nothing: for runs that nobody watches."""
    return nullcontext(lambda: None)


class RunWatch(Watch):
    """Keeps the log, the status file and the display, and stops a driver that has lost its lease."""

    def __init__(self, ledger: Ledger, lease: Lease, progress: RunProgress, show: Callable[[], None]) -> None:
        self._ledger, self._lease, self._progress, self._show = ledger, lease, progress, show
        self._written = 0.0

    def tick(self, workers: int) -> None:
        self._lease.check()
        self._progress.workers = workers
        self._show()
        if time.monotonic() - self._written > STATUS_SECONDS:
            self.write_status("running")

    def event(self, kind: str, content: Mapping[str, Any]) -> None:
        self._ledger.log.add(kind, content)

    def write_status(self, state: str) -> None:
        """`run/status.json`: how far it is, as of now."""
        self._written = time.monotonic()
        who = {"host": socket.gethostname(), "process": os.getpid(), "time": time.time()}
        try:
            self._ledger.write_run_file("status.json", who | {"state": state} | self._progress.as_dict())
        except OSError as error:  # no reason to stop: the units are what counts
            logger.warning("run/status.json was not written: %s", error)
