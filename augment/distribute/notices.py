"""Warnings of workers on their way to the user: collected in the worker's process, told once by the driver.

Forwarding all that a worker prints would drown the progress of a run with many workers. Ray keeps it in files on the
worker's machine; only warnings travel, beside the reports of units, each distinct one once.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable

LIBRARIES = ("", "diffusers", "transformers", "huggingface_hub")  # "" is the root: those with handlers of their own
MOST = 50  # distinct warnings of one worker, or of a run, that are told

logger = logging.getLogger(__name__)


class WarningCollector(logging.Handler):
    """Keeps the distinct warnings and errors that are logged in this process until they are taken."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._seen: set[str] = set()
        self._new: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record's text, unless it was kept before."""
        text = self.format(record).strip()
        if text not in self._seen and len(self._seen) < MOST:
            self._seen.add(text)
            self._new.append(text)

    def take(self) -> tuple[str, ...]:
        """Return what has come since the last call."""
        self.acquire()
        try:
            taken, self._new = self._new, []
        finally:
            self.release()
        return tuple(taken)


def collect_warnings() -> WarningCollector:
    """Return a collector of all warnings of this process, Python's own among them."""
    collector = WarningCollector()
    logging.captureWarnings(True)
    for name in LIBRARIES:
        logging.getLogger(name).addHandler(collector)
    return collector


def warnings_to_stderr() -> None:
    """Let what is logged go to stderr as well, although a collector is there."""
    logging.getLogger().addHandler(logging.StreamHandler(sys.stderr))


class Teller:
    """Logs warnings of workers, each distinct one once."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    def tell(self, warnings: Iterable[str]) -> None:
        """Log those that are new."""
        for text in warnings:
            if text in self._told or len(self._told) > MOST:
                continue
            self._told.add(text)
            if len(self._told) > MOST:
                logger.warning("workers have more warnings; those of workers on Ray are in Ray's logs, a file for each")
            else:
                logger.warning("a worker: %s", text)
