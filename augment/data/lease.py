"""One driver at a time on one output folder, on any store that can create a file only if it is absent.

    run/lease-000007.json    who has the seventh lease, and when it was renewed last

The highest number holds. It is taken over by creating the next number, which one of any number of drivers succeeds in,
once it was released, has not been renewed for `SECONDS`, or belonged to a process of this machine that is no more. A
driver that was suspended and finds a higher number than its own has lost, and stops. No harm is done until it notices:
a unit is committed once, whoever does it. Clocks of machines that share a folder may differ by some seconds, not more.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from augment.data.errors import OutputError
from augment.data.store import Store

SECONDS = 60.0
_NAME = re.compile(r"run/lease-(\d+)\.json")


class Lease:
    """A lease that is held; `check` says so, `renew` keeps it."""

    def __init__(self, store: Store, number: int) -> None:
        self._store, self._number = store, number
        self._lost = False

    def renew(self) -> None:
        """Say that the holder lives; remembers if another driver has taken over."""
        if max(_numbers(self._store), default=0) > self._number:
            self._lost = True
        else:
            self._store.write(_name(self._number), _content(released=False))

    def check(self) -> None:
        """Raise OutputError if another driver has taken over."""
        if self._lost:
            raise OutputError(
                f"{self._store} was taken over by another run, because this one did not renew its lease for "
                f"{SECONDS:.0f} s (was it suspended, or cut off?). It stops here; finished units are kept."
            )

    def release(self) -> None:
        """Let the next driver in at once. The file stays, so that numbers only grow."""
        if not self._lost:
            self._store.write(_name(self._number), _content(released=True))


def acquire(store: Store) -> Lease:
    """Become the only driver of a folder.

    Raises:
        OutputError: if another one is, or the folder cannot be written.
    """
    number = max(_numbers(store), default=0)
    if number and (holder := _holder(store, number)):
        raise OutputError(
            f"{store} is being written by another run ({holder}). Wait for it, stop it, or choose another output.path. "
            f"(Should its machine be gone: the lease ends {SECONDS:.0f} s after it was renewed last.)"
        )
    if not store.create(_name(number + 1), _content(released=False)):
        raise OutputError(f"{store} was taken by another run at this moment. Choose another output.path, or wait.")
    store.remove(_name(n) for n in _numbers(store) if n <= number)
    return Lease(store, number + 1)


@contextlib.contextmanager
def kept_alive(lease: Lease, also: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Renew a lease from a thread for as long as the block lasts, however busy the block is, then release it.

    `also` is called as often. A store that fails for a moment is tried again: the lease lasts several turns.
    """
    stop = threading.Event()

    def beat() -> None:
        while not stop.wait(SECONDS / 6):
            for action in (lease.renew, also):
                with contextlib.suppress(OSError):
                    action()

    thread = threading.Thread(target=beat, name="augment-lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        lease.release()


def _numbers(store: Store) -> list[int]:
    return [int(match[1]) for name in store.list("run") if (match := _NAME.fullmatch(name))]


def _name(number: int) -> str:
    return f"run/lease-{number:06d}.json"


def _content(released: bool) -> bytes:
    who = {"host": socket.gethostname(), "process": os.getpid(), "started": _started(os.getpid())}
    return (json.dumps(who | {"renewed": time.time(), "released": released}) + "\n").encode()


def _holder(store: Store, number: int) -> str:
    """Who holds a lease now, for people; "" if nobody does."""
    try:
        lease: dict[str, Any] = json.loads(store.read(_name(number)))
        host, process, started = str(lease["host"]), int(lease["process"]), str(lease["started"])
        age = time.time() - float(lease["renewed"])
        if lease["released"] or age > SECONDS:
            return ""
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return ""  # gone or ruined: nobody renews it
    if host == socket.gethostname() and _started(process) != started:
        return ""  # its process is no more, or its number belongs to another one
    return f"process {process} on {host}, seen {max(age, 0.0):.0f} s ago"


def _started(process: int) -> str:
    """When a process of this machine began, in clock ticks since boot; "" if there is no such process."""
    try:
        stat = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return ""
    return stat.rpartition(")")[2].split()[19]
