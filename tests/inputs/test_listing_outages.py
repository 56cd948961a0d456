"""A store that does not answer while a dataset is listed: asked again, for a while."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from augment.errors import InputError, UnreachableError
from augment.inputs import readers
from augment.inputs.readers import list_sources

ROWS = b"path,label\na.png,fox\nb.png,owl\n"


class Busy(ThreadingHTTPServer):
    """Serves a manifest, after it has answered `failures` requests with a status."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.failures, self.status, self.asked = 0, 503, 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/rows.csv"


class _Handler(BaseHTTPRequestHandler):
    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        server = self.server
        assert isinstance(server, Busy)
        server.asked += 1
        is_busy = server.asked <= server.failures
        self.send_response(server.status if is_busy else 200)
        self.send_header("Content-Length", "0" if is_busy else str(len(ROWS)))
        self.end_headers()
        if with_body and not is_busy:
            self.wfile.write(ROWS)

    def log_message(self, format: str, *args: object) -> None:
        pass


class Clock:
    """A time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def busy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Busy]:
    monkeypatch.setattr(readers, "PAUSE_SECONDS", 0.01)
    server = Busy()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_dataset_is_listed_once_its_store_answers(busy: Busy, caplog: pytest.LogCaptureFixture) -> None:
    busy.failures = 8
    assert [s.class_name for s in list_sources(busy.url, "manifest").sources] == ["fox", "owl"]
    assert busy.asked > 8
    said = [r.getMessage() for r in caplog.records if "listed again" in r.getMessage()]
    assert said and all("rows.csv" in text for text in said)


def test_it_is_not_waited_for_without_end(busy: Busy, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(readers, "time", clock)
    monkeypatch.setattr(readers, "PAUSE_SECONDS", 25.0)
    busy.failures = 10**9
    with pytest.raises(UnreachableError, match=r"rows\.csv"):
        list_sources(busy.url, "manifest")
    assert clock.now == 75.0  # of the pauses after three listings; the fourth is beyond the 60 s
    assert busy.asked >= 4


def test_what_will_not_pass_is_said_at_once(busy: Busy) -> None:
    busy.failures, busy.status = 10**9, 403
    with pytest.raises(InputError, match=r"rows\.csv") as caught:
        list_sources(busy.url, "manifest")
    assert type(caught.value) is InputError
    assert busy.asked <= 2
