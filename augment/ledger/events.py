"""`run/events.jsonl`: what happened in a run, for people and tools. The dataset does not depend on it."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from typing import Any

from augment.storage.store import Store

logger = logging.getLogger(__name__)
EVENTS_SECONDS = 30.0  # between two writes


class EventLog:
    """Collects events and writes them every `EVENTS_SECONDS`, because an object store cannot append to a file."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lines: list[str] = []
        self._since = time.monotonic()

    def add(self, kind: str, content: Mapping[str, Any]) -> None:
        """Add an event with the current time (UTC).

        Args:
            kind: name of the event.
            content: more fields of the line, as JSON.
        """
        row = {"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "event": kind, **content}
        self._lines.append(json.dumps(row, sort_keys=True) + "\n")
        if time.monotonic() - self._since > EVENTS_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write the collected lines; if that fails, keep them for the next call and log a warning."""
        self._since = time.monotonic()
        if not self._lines:
            return
        try:
            self._store.append("run/events.jsonl", "".join(self._lines).encode())
        except OSError as error:  # a missing log line is no reason to end a run
            logger.warning("run/events.jsonl was not written: %s", error)
            return
        self._lines.clear()
