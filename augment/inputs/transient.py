"""Errors of reading that may pass: a server that is busy, a connection that breaks, a network disk that is away.

The clients of stores have error classes of their own, which are known here by their names and by the HTTP status that
they carry, so that none of these packages needs to be there.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from typing import Any

_ERRNOS = {
    *(errno.EIO, errno.EREMOTEIO, errno.ESTALE, errno.EBUSY, errno.EAGAIN, errno.ENOBUFS, errno.EMFILE, errno.ENFILE),
    *(errno.ENETDOWN, errno.ENETUNREACH, errno.ENETRESET, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENOTCONN),
    socket.EAI_AGAIN,  # the name server does not answer; that it knows no such name does not pass
}
_STATUSES = {408, 425, 429, 500, 502, 503, 504, 507, 509, 529}
_NAMES = {
    *("EndpointConnectionError", "ConnectTimeoutError", "HTTPClientError", "ResponseStreamingError"),  # botocore
    *("ServerDisconnectedError", "ClientPayloadError"),  # aiohttp
    *("ServiceRequestError", "ServiceResponseError"),  # azure
    *("IncompleteRead", "IncompleteReadError", "ChunkedEncodingError", "ProtocolError"),
}


def may_pass(error: BaseException) -> bool:
    """Return whether what failed with this error, or with the one that caused it, may succeed a little later.

    A server's answer counts more than the class of the error: clients make the same class of many statuses.
    """
    chain = list(_causes(error))
    if any(isinstance(each, TimeoutError | ConnectionError) for each in chain):
        return True
    if statuses := [status for each in chain if (status := _http_status(each))]:
        return any(status in _STATUSES for status in statuses)
    return any(map(_is_passing, chain))


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _is_passing(error: BaseException) -> bool:
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in _ERRNOS
    return not _NAMES.isdisjoint(each.__name__ for each in type(error).__mro__)


def _http_status(error: BaseException) -> int:
    """Return the HTTP status that an error of a store's client carries; 0 if it carries none."""
    response: Any = getattr(error, "response", None)
    if isinstance(response, dict):  # botocore
        return _as_status(response.get("ResponseMetadata", {}).get("HTTPStatusCode"))
    for owner, name in ((error, "status"), (error, "status_code"), (error, "code"), (response, "status_code")):
        if status := _as_status(getattr(owner, name, None)):  # in this order: aiohttp warns of `code`
            return status
    return 0


def _as_status(value: Any) -> int:
    text = str(value)
    return int(text) if len(text) == 3 and text.isdecimal() else 0
