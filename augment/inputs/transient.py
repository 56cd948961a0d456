"""Errors of reading that may pass: a server that is busy, a connection that breaks, a network disk that is away.

The clients of stores have error classes of their own, which are known here by their names and by the HTTP status that
they carry, so that none of these packages needs to be there.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator

from augment.storage.client_errors import http_status

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
    if statuses := [status for each in chain if (status := http_status(each))]:
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
