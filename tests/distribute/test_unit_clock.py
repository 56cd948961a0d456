"""How long a unit may take."""

from __future__ import annotations

import math

import pytest

from augment.distribute.config import RunConfig
from augment.distribute.unit_clock import FLOOR_SECONDS, UNMEASURED_SECONDS, UnitClock
from augment.types import UnitReport


def report(edited: int = 4, kept: int = 0) -> UnitReport:
    return UnitReport("u0", "pixels", "part", "sum", 4, edited, 4 - edited, {}, kept=kept)


def test_it_is_ten_times_the_median_unit_and_not_below_the_floor() -> None:
    clock = UnitClock(None)
    assert clock.limit == UNMEASURED_SECONDS == 21_600
    clock.done(report(), 3.0)
    assert clock.limit == FLOOR_SECONDS == 1800
    for seconds in (400.0, 500.0, 700.0, 9000.0):
        clock.done(report(), seconds)
    assert clock.limit == 5000


def test_units_that_were_found_or_failed_say_nothing() -> None:
    clock = UnitClock(None)
    clock.done(report(kept=4), 0.1)
    clock.done(report(edited=0), 0.1)
    assert clock.limit == UNMEASURED_SECONDS


def test_what_the_config_says_is_taken_as_it_is() -> None:
    clock = UnitClock(12.0)
    clock.done(report(), 500.0)
    assert clock.limit == 12.0
    assert UnitClock(math.inf).limit == math.inf


@pytest.mark.parametrize("seconds", [0.0, -1.0])
def test_no_time_at_all_is_refused(seconds: float) -> None:
    with pytest.raises(ValueError, match="unit_timeout"):
        RunConfig(unit_timeout=seconds)
