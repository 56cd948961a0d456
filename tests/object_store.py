"""An S3 on loopback, as fixtures: a `conftest.py` imports `object_store`, and `faults` to make it fail.

All of them share one server, which runs from its first use to the end of the session.
"""

from __future__ import annotations

import gc
import itertools
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import pytest

BUCKET = "augment-tests"
FreshUrl = Callable[[], str]
Request = dict[str, Any]  # a WSGI environment
NO_PROXY = {"no_proxy": "*", "NO_PROXY": "*"}  # one of whoever runs the tests does not know this machine's loopback


@dataclass
class Fault:
    """What a server does wrong, for requests of one method to a path that ends so.

    Attributes:
        times: how many of them; then all is well again.
        carried_out: whether the request is done nevertheless, as when only its answer is lost.
        code: S3's word for the error, in the answer's body.
        ignores: a header of the request (as WSGI names it) that the server does not know; it answers as it will.
        silent: whether the connection is closed without an answer.
        holds: called before the answer; the client waits for as long as it lasts.
    """

    method: str
    path_end: str
    status: str = "500 Internal Server Error"
    code: str = "InternalError"
    times: int = 1
    carried_out: bool = False
    ignores: str = ""
    silent: bool = False
    holds: Callable[[], object] = field(default=lambda: None)


@dataclass
class Faults:
    """A WSGI application before another one, which makes the faults that tests ask for.

    Attributes:
        seen: method, path and bytes of the answer of every request.
    """

    server: Any
    wanted: list[Fault] = field(default_factory=list)
    seen: list[tuple[str, str, int]] = field(default_factory=list)

    def __call__(self, request: Request, start_response: Any) -> Iterable[bytes]:
        path, method = request["PATH_INFO"], request["REQUEST_METHOD"]
        fault = next((f for f in self.wanted if f.method == method and path.endswith(f.path_end) and f.times), None)
        if fault is not None:
            fault.times -= 1
            fault.holds()
        if fault is None or fault.ignores:
            known = {name: value for name, value in request.items() if fault is None or name != fault.ignores}
            answer = list(self.server(known, start_response))
            self.seen.append((method, path, sum(map(len, answer))))
            return answer
        if fault.carried_out:
            list(self.server(request, lambda *_: None))
        else:
            request["wsgi.input"].read(int(request.get("CONTENT_LENGTH") or 0) // 2)
        if fault.silent:
            request["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
        start_response(fault.status, [("Content-Type", "application/xml")])
        return [f"<Error><Code>{fault.code}</Code><Message>a fault of the test</Message></Error>".encode()]


_closing = ExitStack()
_numbers = itertools.count()


@cache
def _running() -> Faults:
    """moto's S3 at a free port of loopback, and the environment that leads every client there, in any process."""
    from fsspec.core import url_to_fs
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
    from werkzeug.serving import make_server

    faults = Faults(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, faults, threaded=True, request_handler=MotoRequestHandler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    for stop in (server.server_close, thread.join, server.shutdown):
        _closing.callback(stop)
    patch = _closing.enter_context(pytest.MonkeyPatch.context())
    for name, value in {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}",
        "AWS_CONFIG_FILE": "/dev/null",  # whoever runs the tests may have another account there
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        **NO_PROXY,
    }.items():
        patch.setenv(name, value)
    _close_clients()  # one that a test made before there were credentials would be taken again
    _closing.callback(_close_clients)
    url_to_fs(f"s3://{BUCKET}", use_listings_cache=False)[0].mkdir(BUCKET)
    return faults


def _close_clients() -> None:
    from s3fs import S3FileSystem

    S3FileSystem.clear_instance_cache()
    gc.collect()  # a client's connections are closed when nobody holds it any more


@pytest.fixture(scope="session")
def object_store() -> Iterator[FreshUrl]:
    """Gives a new `s3://` URL under which there is nothing yet, at each call."""
    _running()
    yield lambda: f"s3://{BUCKET}/out-{next(_numbers)}"
    _closing.close()
    _running.cache_clear()


@pytest.fixture
def requests_seen(object_store: FreshUrl) -> list[tuple[str, str, int]]:
    """Method, path and bytes of the answer of every request to the object store from now on."""
    seen = _running().seen
    seen.clear()
    return seen


@pytest.fixture
def faults(object_store: FreshUrl) -> Iterator[list[Fault]]:
    """The faults that the object store is to make; put some in."""
    yield _running().wanted
    _running().wanted.clear()
