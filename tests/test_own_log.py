"""A server of another test is not heard."""

from __future__ import annotations

import logging
import threading

import pytest


def _log_elsewhere(*names: str) -> None:
    thread = threading.Thread(target=lambda: [logging.getLogger(name).warning("from %s", name) for name in names])
    thread.start()
    thread.join()


def _heard(log: pytest.LogCaptureFixture) -> list[str]:
    return [message for message in log.messages if message.startswith("from ")]  # a thread of a test before may log


def test_only_this_repository_is_heard(caplog: pytest.LogCaptureFixture) -> None:
    _log_elsewhere("werkzeug", "augment.run", "augmented", "ray", "augment")
    assert _heard(caplog) == ["from augment.run", "from augment"]


def test_every_logger_is_heard_where_nothing_may_be_said(every_logger: pytest.LogCaptureFixture) -> None:
    _log_elsewhere("werkzeug", "augment.run")
    assert _heard(every_logger) == ["from werkzeug", "from augment.run"]
