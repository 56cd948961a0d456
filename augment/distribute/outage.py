"""Outages: the wait for an input or an output that does not answer."""

from __future__ import annotations

import time

from augment.errors import UnreachableError
from augment.storage.resolve import open_store
from augment.storage.retry import OUTAGE_SECONDS, is_permanent


class Outage:
    """Tells an outage that may end from one that has lasted too long.

    Args:
        output: the run's output folder or URL.
    """

    def __init__(self, output: str) -> None:
        self._output = output
        self._since: float | None = None  # monotonic seconds; None while all is well

    def ended(self) -> None:
        """Take note that a unit was read and written."""
        self._since = None

    def check(self, error: OSError | UnreachableError) -> None:
        """Take note that a unit could not be read, or written.

        Raises:
            OSError: the error, if waiting cannot help or has not helped for `OUTAGE_SECONDS`.
            UnreachableError: if the input has not answered for so long.
        """
        now = time.monotonic()
        if self._since is None:
            self._since = now
        too_long = now - self._since > OUTAGE_SECONDS
        if isinstance(error, UnreachableError):
            if too_long:
                raise UnreachableError(
                    f"{error}. Neither this input nor those beside it could be read for {OUTAGE_SECONDS:.0f} s. What "
                    "is finished is kept; once inputs can be read, the same command goes on from there."
                ) from error
        elif too_long or is_permanent(error, open_store(self._output)):
            raise error
