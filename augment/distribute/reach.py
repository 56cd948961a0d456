"""Whether a Ray answers at an address, found out in seconds: `ray.init` tries for minutes, and hears no signal."""

from __future__ import annotations

import os
import socket
import time

from augment.errors import WorkerError

CONNECT_SECONDS = 10.0  # in which somebody has to answer
_PAUSE = 0.5  # seconds between two tries
# What an HTTP/2 client sends first, and an empty SETTINGS frame (RFC 9113, sections 3.4 and 6.5): Ray speaks gRPC.
_HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
_SETTINGS = 4  # type of the frame that a server answers first, in its fourth byte


def check_reachable(address: str, seconds: float = CONNECT_SECONDS) -> None:
    """Raise WorkerError unless a Ray can be reached.

    Args:
        address: `local` and `auto` are not looked for, but for an `auto` that the environment's RAY_ADDRESS names.
        seconds: how long to try.
    """
    named = f"run.address {address!r}"
    if address == "auto":
        address = os.environ.get("RAY_ADDRESS", "")
        named += f" (RAY_ADDRESS is {address!r})"
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not host or not port.isdigit():
        return
    try:
        answer = _answer(host.strip("[]"), int(port), seconds)
    except socket.gaierror as error:
        raise WorkerError(
            f"{named}: there is no machine of that name ({error.strerror}); correct the address"
        ) from None
    except (OSError, OverflowError) as error:
        raise WorkerError(
            f"{named}: nobody answers there within {seconds:.0f} s ({error}). Is the cluster up (on its head machine: "
            f"`ray start --head --port={port}`), the address right, and the port open from here? `run.address: local` "
            "needs no cluster"
        ) from None
    if answer[3:4] != bytes([_SETTINGS]) and os.environ.get("RAY_USE_TLS", "0") != "1":
        raise WorkerError(
            f"{named}: something answers there, but it is no Ray. Give the port that `ray start --head` printed, 6379 "
            "by default, not that of the dashboard"
        )


def _answer(host: str, port: int, seconds: float) -> bytes:
    """Return the first bytes that a server answers to an HTTP/2 client; raise OSError if none is there."""
    deadline = time.monotonic() + seconds
    while True:
        left = deadline - time.monotonic()
        try:
            with socket.create_connection((host, port), timeout=max(_PAUSE, left)) as connection:
                connection.sendall(_HELLO)
                return connection.recv(9)
        except (ConnectionError, TimeoutError):
            if left <= _PAUSE:
                raise
            time.sleep(_PAUSE)
