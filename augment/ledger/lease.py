"""A lease on an output folder, so that it has one driver at a time. Needs a store with a conditional create.

    run/lease-000007.json    the holder of the seventh lease, and when it renewed it last

The lease with the highest number is valid; its number is the fencing token. Another driver may take over once the lease
was released, has not been renewed for `SECONDS`, or belongs to a process of this machine that has ended. It does so by
creating the file of the next number, in which only one driver succeeds. A driver that was suspended and finds a higher
number than its own has lost the lease, and stops. Until it notices it does no harm: a unit is committed only once.

No clocks of two machines need to agree. The time in a lease of another machine is believed where it says that the lease
was renewed just now. Otherwise that machine has stopped, or its clock is wrong; so the file is watched for `SECONDS` of
this machine's own clock, and is free if nobody has written it.
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
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from augment.errors import OutputError
from augment.storage.store import Store

logger = logging.getLogger(__name__)

Seconds = Callable[[], float]
SECONDS = 60.0  # after which a lease that was not renewed is free
_NAME = re.compile(r"run/lease-(\d+)\.json")


class Lease:
    """A lease of one number, held once `take` has succeeded.

    Args:
        store: the folder.
        number: the fencing token.
        date: seconds since 1970, by the clock of this machine.
    """

    def __init__(self, store: Store, number: int, date: Seconds = time.time) -> None:
        self._store, self.number, self._date = store, number, date
        self._token = uuid.uuid4().hex
        self._lost = False

    def take(self) -> bool:
        """Create the file of this number; return whether this driver is the holder now."""
        if not self._store.create(_name(self.number), self._content(released=False)):
            # The file may be this lease's own: a store may have carried out a call that was then repeated.
            held = _read(self._store, self.number)
            if held is None or held.get("token") != self._token:
                return False
        return max(_numbers(self._store), default=0) == self.number

    def renew(self) -> None:
        """Write the time of renewal, or note that another driver has taken over.

        Raises:
            OSError: if the file cannot be written.
        """
        if max(_numbers(self._store), default=0) > self.number:
            self._lost = True
        else:
            self._store.write(_name(self.number), self._content(released=False))

    def confirm(self) -> None:
        """Do as `check` does, but ask the store first: before every change that two drivers must not both make."""
        if max(_numbers(self._store), default=0) > self.number:
            self._lost = True
        self.check()

    def check(self) -> None:
        """Raise OutputError if another driver has taken over."""
        if self._lost:
            raise OutputError(
                f"{self._store} was taken over by another run, because this one did not renew its lease for "
                f"{SECONDS:.0f} s (was it suspended, or cut off?). It stops here; finished units are kept."
            )

    def release(self) -> None:
        """Mark the lease as released, so that the next driver need not wait. The file stays: numbers only grow."""
        if not self._lost:
            self._store.write(_name(self.number), self._content(released=True))

    def _content(self, released: bool) -> bytes:
        who = _here() | {"process": os.getpid(), "started": _started(os.getpid()), "token": self._token}
        return (json.dumps(who | {"renewed": self._date(), "released": released}) + "\n").encode()

    def __str__(self) -> str:
        return self._store.at(_name(self.number))


def acquire(store: Store, date: Seconds = time.time) -> Lease:
    """Take the lease of a folder; waits for up to `SECONDS` where that of another machine may or may not be old.

    Args:
        store: the folder.
        date: seconds since 1970, by the clock of this machine.

    Raises:
        OutputError: if another driver holds it, or the store has no conditional create.
    """
    number = max(_numbers(store), default=0)
    if number and (holder := _holder(store, number, date(), watch=True)):
        raise OutputError(
            f"{store} is being written by another run ({holder}). Wait for it, stop it, or choose another output.path. "
            f"(Should its machine be gone: the lease ends {SECONDS:.0f} s after it was renewed last.)"
        )
    lease = Lease(store, number + 1, date)
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
    """Renew a lease from a thread for as long as the block lasts, then release it.

    A renewal that fails is logged and tried again: the lease outlasts several of them.
    """
    stop = threading.Event()

    def beat() -> None:
        while not stop.wait(SECONDS / 6):
            try:
                lease.renew()
            except Exception as error:  # the thread must live on: the next renewal may succeed
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
        except OSError as error:  # the lease ends by itself, and an error of the block must not be replaced
            logger.warning("%s: not released: %s", lease, error)


def holder(store: Store) -> str:
    """Return who holds the lease of a folder now, as text for a person; "" if nobody does.

    Writes nothing, and goes by the time in the lease: that of another machine whose clock is wrong may deceive it.
    """
    number = max(_numbers(store), default=0)
    return _holder(store, number, time.time(), watch=False) if number else ""


def _numbers(store: Store) -> list[int]:
    return [int(match[1]) for name in store.list("run") if (match := _NAME.fullmatch(name))]


def _name(number: int) -> str:
    return f"run/lease-{number:06d}.json"


def _read(store: Store, number: int) -> dict[str, Any] | None:
    """Return the content of a lease; None if it is gone or not readable."""
    try:
        content = json.loads(store.read(_name(number)))
    except (FileNotFoundError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _holder(store: Store, number: int, now: float, *, watch: bool) -> str:
    """Return who holds the lease of this number now, as text for a person; "" if nobody does.

    Args:
        now: by the clock of this machine.
        watch: find out by waiting, where the clock of another machine cannot be believed.
    """
    lease = _read(store, number)
    if lease is None:
        return ""  # its holder cannot renew it
    try:
        process, started = int(lease["process"]), str(lease["started"])
        age, released = now - float(lease["renewed"]), bool(lease["released"])
    except (ValueError, KeyError, TypeError):
        return ""
    is_here = _here().items() <= lease.items()
    if released or (is_here and (age > SECONDS or _started(process) != started)):
        return ""  # where its process has ended, its id may belong to another process now
    if not is_here and not 0.0 <= age <= SECONDS and not (watch and _is_renewed(store, number, lease)):
        return "" if watch or age > SECONDS else f"process {process} on {lease.get('host')}, whose clock is ahead"
    seen = f"{age:.0f} s ago" if 0.0 <= age <= SECONDS else "just now"
    return f"process {process} on {lease.get('host')}, seen {seen}"


def _is_renewed(store: Store, number: int, lease: dict[str, Any]) -> bool:
    """Return whether somebody writes a lease anew within `SECONDS`, by this machine's clock."""
    logger.warning(
        "%s was held by a run on %s, which has stopped, or has another time: it is watched for %.0f s",
        *(store, lease.get("host"), SECONDS),
    )
    began = time.monotonic()
    while time.monotonic() - began < SECONDS:
        time.sleep(SECONDS / 12)
        now = _read(store, number)
        if now is not None and now != lease:
            return not now.get("released")
    return False


def _here() -> dict[str, str]:
    """Return what a process id is unique in: machines may share a host name, and containers a machine."""
    try:
        numbers, boot = os.readlink("/proc/self/ns/pid"), Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        numbers = boot = ""
    return {"host": socket.gethostname(), "numbers": numbers, "boot": boot}


def _started(process: int) -> str:
    """Return when a process of this machine began, in clock ticks since boot; "" if there is no such process."""
    try:
        stat = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return ""
    fields = stat.rpartition(")")[2].split()
    return "" if fields[0] in "ZX" else fields[19]  # a zombie has ended
