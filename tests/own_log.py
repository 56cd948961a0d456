"""What a test hears of the log: this package's own records.

`caplog` listens to all loggers of the process. The servers of other tests live in threads of it and log whenever they
answer, so that a test which counts records, or wants none, would depend on what ran before.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

OWN = ("augment", "jobs", "tests")


def is_own(record: logging.LogRecord) -> bool:
    """Return whether a record comes from this repository."""
    return record.name.partition(".")[0] in OWN


@pytest.fixture
def every_logger(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """Hears libraries, too: for tests of what must be said nowhere."""
    caplog.handler.removeFilter(is_own)
    return caplog


@pytest.fixture(name="caplog")
def own_log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """Hears this repository's loggers only."""
    handler = caplog.handler  # the same one in all tests
    handler.addFilter(is_own)
    yield caplog
    handler.removeFilter(is_own)
