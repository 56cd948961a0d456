"""Which errors of reading may pass, as the operating system and the clients of stores raise them."""

from __future__ import annotations

import errno
import os
import socket

import aiohttp
import pytest
from botocore import exceptions
from multidict import CIMultiDict, CIMultiDictProxy
from s3fs.errors import translate_boto_error
from yarl import URL

from augment.errors import InputError, UnreachableError
from augment.inputs.locate import reaching, read_file
from augment.inputs.transient import may_pass


def of_system(number: int) -> OSError:
    return OSError(number, os.strerror(number))


def of_s3(code: str, status: int) -> BaseException:
    """What s3fs makes of an answer."""
    answer = {"Error": {"Code": code, "Message": "a message"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    error: BaseException = translate_boto_error(exceptions.ClientError(answer, "GetObject"))
    return error


def of_http(status: int) -> BaseException:
    asked = aiohttp.RequestInfo(URL("http://a/b"), "GET", CIMultiDictProxy(CIMultiDict()))
    return aiohttp.ClientResponseError(asked, (), status=status)


def caused_by(error: Exception, cause: BaseException) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    "error",
    [
        *map(of_system, (errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ECONNRESET, errno.EHOSTDOWN, errno.EMFILE)),
        TimeoutError(),
        ConnectionRefusedError("nobody there"),
        of_s3("SlowDown", 503),
        of_s3("InternalError", 500),
        of_s3("ServiceUnavailable", 503),
        of_s3("RequestTimeout", 400),
        of_s3("TooManyRequests", 429),  # s3fs does not know it
        exceptions.EndpointConnectionError(endpoint_url="http://127.0.0.1:9"),
        exceptions.ReadTimeoutError(endpoint_url="http://127.0.0.1:9"),
        exceptions.ConnectionClosedError(endpoint_url="http://127.0.0.1:9"),
        *map(of_http, (429, 500, 502, 503, 504)),
        aiohttp.ServerDisconnectedError(),
        caused_by(FileNotFoundError("http://a/b"), ConnectionRefusedError()),
        caused_by(FileNotFoundError("http://a/b"), of_http(503)),
        caused_by(FileNotFoundError("http://a/b"), of_system(socket.EAI_AGAIN)),
    ],
    ids=str,
)
def test_what_may_pass(error: BaseException) -> None:
    assert may_pass(error)
    with pytest.raises(UnreachableError, match="s3://a/b"), reaching("s3://a/b"):
        raise error


@pytest.mark.parametrize(
    "error",
    [
        *map(of_system, (errno.ENOENT, errno.EACCES, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENOSPC)),
        of_s3("NoSuchKey", 404),
        of_s3("AccessDenied", 403),
        of_s3("InvalidRange", 416),
        of_s3("SomethingNew", 400),  # s3fs makes EIO of it
        exceptions.NoCredentialsError(),
        *map(of_http, (400, 401, 403, 404, 410, 501)),
        caused_by(FileNotFoundError("http://a/b"), of_http(404)),
        caused_by(FileNotFoundError("http://a/b"), of_system(socket.EAI_NONAME)),
        ValueError("no such thing"),
    ],
    ids=str,
)
def test_what_does_not_pass(error: BaseException) -> None:
    assert not may_pass(error)
    with pytest.raises(InputError) as caught, reaching("s3://a/b"):
        raise error
    assert type(caught.value) is InputError


def test_nobody_at_an_address_may_be_somebody_later() -> None:
    with pytest.raises(UnreachableError, match=r"x\.png: .*127\.0\.0\.1"):
        read_file("http://127.0.0.1:9/x.png")
