"""`run/events.jsonl`: what happened in a run, for people and tools; nothing of the dataset depends on it."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from typing import Any

from augment.storage.store import Store

logger = logging.getLogger(__name__)
EVENTS_SECONDS = 30.0


class EventLog:
    """Lines with the time, written together, half a minute's at once: an object store has no append."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lines: list[str] = []
        self._since = time.monotonic()

    def add(self, kind: str, content: Mapping[str, Any]) -> None:
        """Add a line."""
        row = {"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "event": kind, **content}
        self._lines.append(json.dumps(row, sort_keys=True) + "\n")
        if time.monotonic() - self._since > EVENTS_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write the lines that are waiting; if that fails, they wait for the next time."""
        self._since = time.monotonic()
        if not self._lines:
            return
        try:
            self._store.append("run/events.jsonl", "".join(self._lines).encode())
        except OSError as error:  # no reason to stop
            logger.warning("run/events.jsonl was not written: %s", error)
            return
        self._lines.clear()
