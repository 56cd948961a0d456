"""What a check is, and how one is made: whatever goes wrong in it becomes a finding."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

GIB = 2**30


class CheckStatus(StrEnum):
    """What a check came to."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True)
class Check:
    """One thing that was looked at: what was found, and what to do unless it is ok."""

    name: str
    status: CheckStatus
    found: str
    advice: str = ""


class Finding(NamedTuple):
    """A check without its name."""

    status: CheckStatus
    found: str
    advice: str = ""


class Probe(NamedTuple):
    """How a check is made, what to do if it raises, and after how many seconds it counts as hanging."""

    name: str
    look: Callable[[], Finding]
    advice: str
    seconds: float = 10.0

    def make(self) -> Check:
        """Make the check, in a thread of its own: a name server or a driver may keep silent for minutes."""
        result: Future[Finding] = Future()

        def look() -> None:
            try:
                result.set_result(self.look())
            except BaseException as error:
                result.set_exception(error)

        threading.Thread(target=look, daemon=True).start()
        try:
            error = result.exception(timeout=self.seconds)
        except TimeoutError:
            return Check(self.name, CheckStatus.PROBLEM, f"no answer within {self.seconds:g} s", self.advice)
        if error is None:
            return Check(self.name, *result.result())
        found = f"{type(error).__name__}: {' '.join(str(error).split())}"
        return Check(self.name, CheckStatus.PROBLEM, found, self.advice)


def gib(size: float) -> str:
    """Return a number of bytes as text in GiB."""
    return f"{size / GIB:.1f} GiB"
