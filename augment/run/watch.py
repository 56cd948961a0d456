"""The driver's tasks while workers run: log, status file, display, and the check of its lease."""

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
STATUS_SECONDS = 10.0  # between two writes of run/status.json
# Opens a display of a run's progress; within the block it gives a function that refreshes the display.
Display = Callable[[RunProgress], AbstractContextManager[Callable[[], None]]]


def no_display(progress: RunProgress) -> AbstractContextManager[Callable[[], None]]:
    """Return a display that shows nothing."""
    return nullcontext(lambda: None)


class RunWatch(Watch):
    """Writes the log and the status file, refreshes the display, and raises once the lease is lost.

    Args:
        ledger: of the run's output.
        lease: that the driver holds.
        progress: of the run.
        show: refreshes the display.
    """

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
        """Write `run/status.json`: the state (`running`, ...) and the progress now. A failure is logged only."""
        self._written = time.monotonic()
        who = {"host": socket.gethostname(), "process": os.getpid(), "time": time.time()}
        try:
            self._ledger.write_run_file("status.json", who | {"state": state} | self._progress.as_dict())
        except OSError as error:  # a missing status is no reason to end a run
            logger.warning("run/status.json was not written: %s", error)
