"""An S3 on loopback, as a fixture: `from tests.object_store import object_store` (and `faults`, to make it fail)."""

from __future__ import annotations

import gc
import itertools
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

BUCKET = "augment-tests"
FreshUrl = Callable[[], str]
Request = dict[str, Any]  # a WSGI environment


@dataclass
class Fault:
    """An answer that is wrong, to requests of one method for a path that ends so.

    Attributes:
        times: how many of them; then all is well again.
        carried_out: whether the request is done nevertheless, as when only its answer is lost.
        code: S3's word for the error, in the answer's body.
    """

    method: str
    path_end: str
    status: str
    code: str
    times: int = 1
    carried_out: bool = False


@dataclass
class Faults:
    """A WSGI application before another one, which makes the faults that tests ask for."""

    server: Any
    wanted: list[Fault] = field(default_factory=list)

    def __call__(self, request: Request, start_response: Any) -> Iterable[bytes]:
        path, method = request["PATH_INFO"], request["REQUEST_METHOD"]
        fault = next((f for f in self.wanted if f.method == method and path.endswith(f.path_end) and f.times), None)
        if fault is None:
            answer: Iterable[bytes] = self.server(request, start_response)
            return answer
        fault.times -= 1
        if fault.carried_out:
            list(self.server(request, lambda *_: None))
        else:
            request["wsgi.input"].read(int(request.get("CONTENT_LENGTH") or 0) // 2)
        start_response(fault.status, [("Content-Type", "application/xml")])
        return [f"<Error><Code>{fault.code}</Code><Message>a fault of the test</Message></Error>".encode()]


@pytest.fixture(scope="session")
def _server() -> Iterator[Faults]:
    """moto's S3 at a free port of loopback, and the environment that leads every client there, in any process."""
    from fsspec.core import url_to_fs
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
    from werkzeug.serving import make_server

    faults = Faults(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, faults, threaded=True, request_handler=MotoRequestHandler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}",
            "AWS_CONFIG_FILE": "/dev/null",  # whoever runs the tests may have another account there
            "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        }.items():
            patch.setenv(name, value)
        url_to_fs(f"s3://{BUCKET}", use_listings_cache=False)[0].mkdir(BUCKET)
        yield faults
        _close_clients()
    server.shutdown()
    thread.join()
    server.server_close()


def _close_clients() -> None:
    from s3fs import S3FileSystem

    S3FileSystem.clear_instance_cache()
    gc.collect()  # a client's connections are closed when nobody holds it any more


@pytest.fixture(scope="session")
def object_store(_server: Faults) -> FreshUrl:
    """Gives a new `s3://` URL under which there is nothing yet, at each call."""
    numbers = itertools.count()
    return lambda: f"s3://{BUCKET}/out-{next(numbers)}"


@pytest.fixture
def faults(_server: Faults) -> Iterator[list[Fault]]:
    """The faults that the object store is to make; put some in."""
    yield _server.wanted
    _server.wanted.clear()
