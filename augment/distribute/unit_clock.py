"""The clock on units: after how long at work a worker is taken for one that hangs."""

from __future__ import annotations

from collections import deque
from statistics import median

from augment.types import UnitReport

TIMES_MEDIAN = 10.0
FLOOR_SECONDS = 1800.0  # however short units are
UNMEASURED_SECONDS = 6 * 3600.0  # before any unit was made
HANGS = "the worker was ended because it did not end the unit in time"  # without figures: it becomes part of records
_KEPT = 200  # units that the median is taken of


class UnitClock:
    """Knows the time that a unit may take.

    Args:
        timeout: `run.unit_timeout`, in seconds; None for `TIMES_MEDIAN` times the median of the units made before, and
            at least `FLOOR_SECONDS`.
    """

    def __init__(self, timeout: float | None) -> None:
        self._timeout = timeout
        self._seconds: deque[float] = deque(maxlen=_KEPT)

    def done(self, report: UnitReport, seconds: float) -> None:
        """Take note of the time that a unit took. Those count that were made whole: others say little about them."""
        if report.edited and not report.kept:
            self._seconds.append(seconds)

    @property
    def limit(self) -> float:
        """Return the seconds that a unit may take now."""
        if self._timeout is not None:
            return self._timeout
        return max(FLOOR_SECONDS, TIMES_MEDIAN * median(self._seconds)) if self._seconds else UNMEASURED_SECONDS
