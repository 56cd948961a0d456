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
import logging
import os
import re
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from augment.errors import OutputError
from augment.storage.store import Store

logger = logging.getLogger(__name__)

SECONDS = 60.0
_NAME = re.compile(r"run/lease-(\d+)\.json")


class Lease:
    """A lease that is held; `check` says so, `renew` keeps it."""

    def __init__(self, store: Store, number: int) -> None:
        self._store, self.number = store, number
        self._renewed = 0.0
        self._token = uuid.uuid4().hex
        self._lost = False

    def take(self) -> bool:
        """Become the holder, unless another one is, or was meanwhile."""
        name, self._renewed = _name(self.number), time.time()
        if not self._store.create(name, self._content(released=False)):
            # It may be this very one, which a store carried out before it was asked a second time.
            held = _read(self._store, self.number)
            if held is None or held.get("token") != self._token:
                return False
        return max(_numbers(self._store), default=0) == self.number

    def renew(self) -> None:
        """Say that the holder lives; remembers if another driver has taken over."""
        if max(_numbers(self._store), default=0) > self.number:
            self._lost = True
        else:
            now = time.time()
            self._store.write(_name(self.number), self._content(released=False))
            self._renewed = now

    def confirm(self) -> None:
        """As `check`, but asks the store unless it was renewed just now. Before what a second driver must not do."""
        if time.time() - self._renewed > SECONDS / 3:
            self.renew()
        self.check()

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
            self._store.write(_name(self.number), self._content(released=True))

    def _content(self, released: bool) -> bytes:
        who = _here() | {"process": os.getpid(), "started": _started(os.getpid()), "token": self._token}
        return (json.dumps(who | {"renewed": time.time(), "released": released}) + "\n").encode()

    def __str__(self) -> str:
        return self._store.at(_name(self.number))


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
    lease = Lease(store, number + 1)
    if not lease.take():
        raise OutputError(f"{store} was taken by another run at this moment. Choose another output.path, or wait.")
    if store.create(_name(number + 1), b""):
        raise OutputError(
            f"{store}: this store lets two writers create the same file, so two workers could both finish a unit. "
            "Choose another output.path, on a store with conditional writes."
        )
    store.remove(_name(n) for n in _numbers(store) if n <= number)
    return lease


@contextlib.contextmanager
def kept_alive(lease: Lease) -> Iterator[None]:
    """Renew a lease from a thread for as long as the block lasts, however busy the block is, then release it.

    A store that fails for a moment is tried again: the lease lasts several turns.
    """
    stop = threading.Event()

    def beat() -> None:
        while not stop.wait(SECONDS / 6):
            try:
                lease.renew()
            except Exception as error:  # whatever it is, the next turn is wanted
                logger.warning("%s: %s: %s", lease, type(error).__name__, error)

    thread = threading.Thread(target=beat, name="augment-lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        try:
            lease.release()
        except OSError as error:  # it ends by itself; what happened in the block is more important
            logger.warning("%s: not released: %s", lease, error)


def holder(store: Store) -> str:
    """Who drives a folder now, for people; "" if nobody does. Takes nothing and writes nothing."""
    number = max(_numbers(store), default=0)
    return _holder(store, number) if number else ""


def _numbers(store: Store) -> list[int]:
    return [int(match[1]) for name in store.list("run") if (match := _NAME.fullmatch(name))]


def _name(number: int) -> str:
    return f"run/lease-{number:06d}.json"


def _read(store: Store, number: int) -> dict[str, Any] | None:
    """What a lease says; None if it is gone or ruined."""
    try:
        content = json.loads(store.read(_name(number)))
    except (FileNotFoundError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _holder(store: Store, number: int) -> str:
    """Who holds a lease now, for people; "" if nobody does."""
    lease = _read(store, number)
    if lease is None:
        return ""  # nobody can renew it
    try:
        process, started = int(lease["process"]), str(lease["started"])
        age = time.time() - float(lease["renewed"])
        if lease["released"] or age > SECONDS:
            return ""
    except (ValueError, KeyError, TypeError):
        return ""
    if _here().items() <= lease.items() and _started(process) != started:
        return ""  # its process is no more, or its number belongs to another one
    return f"process {process} on {lease.get('host')}, seen {max(age, 0.0):.0f} s ago"


def _here() -> dict[str, str]:
    """Where the number of a process means something: machines may share a host name, and containers a machine."""
    try:
        numbers, boot = os.readlink("/proc/self/ns/pid"), Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        numbers = boot = ""
    return {"host": socket.gethostname(), "numbers": numbers, "boot": boot}


def _started(process: int) -> str:
    """When a process of this machine began, in clock ticks since boot; "" if there is no such process."""
    try:
        stat = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return ""
    fields = stat.rpartition(")")[2].split()
    return "" if fields[0] in "ZX" else fields[19]  # a zombie does nothing any more
