"""Caches, tokens, ports and stores that are not there, cannot be written, or do not answer."""

from __future__ import annotations

import http.server
import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import fsspec
import pytest
from huggingface_hub import constants

from augment.doctor import (
    Check,
    CheckStatus,
    diagnose,
    services,
)
from augment.doctor.check import Finding, Probe
from augment.storage.local_store import LocalStore
from tests.closed_port import closed_port
from tests.object_store import FreshUrl

NO_FOLDER = Path("/proc/augment")  # nobody can make files there, root neither


def test_the_model_cache_is_described(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    blobs = tmp_path / "models--owner--name" / "blobs"
    blobs.mkdir(parents=True)
    with (blobs / "0123").open("wb") as file:
        file.truncate(3 * 2**29)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    assert services.model_cache() == Finding(CheckStatus.OK, f"{tmp_path}: 1 models, 1.5 GiB; writable")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(NO_FOLDER))
    assert services.model_cache().status is CheckStatus.WARNING
    assert services.model_cache().found == f"{NO_FOLDER}: 0 models, 0.0 GiB; read-only"
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert services.model_cache() == Finding(CheckStatus.OK, f"{NO_FOLDER}: 0 models, 0.0 GiB; read-only, offline")


def test_rays_token_needs_a_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    token = tmp_path / ".ray" / "auth_token"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert services.ray_token() == Finding(CheckStatus.OK, f"{token} will be made")
    assert list(tmp_path.iterdir()) == []
    token.parent.mkdir()
    token.touch()
    assert services.ray_token() == Finding(CheckStatus.OK, str(token))
    monkeypatch.setenv("HOME", str(NO_FOLDER))
    assert services.ray_token().status is CheckStatus.PROBLEM
    assert services.ray_token().found == "none, and /proc/augment/.ray/auth_token cannot be made"
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "nowhere"))
    assert services.ray_token().found == f"RAY_AUTH_TOKEN_PATH: no file {tmp_path / 'nowhere'}"
    monkeypatch.setenv("RAY_AUTH_TOKEN", "secret")
    assert services.ray_token() == Finding(CheckStatus.OK, "from RAY_AUTH_TOKEN")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    assert services.ray_token().status is CheckStatus.OK


@contextmanager
def answering() -> Iterator[int]:
    """The port of an HTTP server on this machine; closed afterwards."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_error(403)

        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        yield server.server_port
        server.shutdown()


def test_a_ray_that_does_not_answer_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    probe = Probe("ray address", services.ray_address, "unset RAY_ADDRESS")
    with answering() as port:
        for address in (f"127.0.0.1:{port}", f"http://127.0.0.1:{port}", f"ray://127.0.0.1:{port}"):
            monkeypatch.setenv("RAY_ADDRESS", address)
            assert probe.make().status is CheckStatus.OK
    with closed_port() as port:
        monkeypatch.setenv("RAY_ADDRESS", f"ray://127.0.0.1:{port}")
        check = probe.make()
    assert (check.status, check.advice) == (CheckStatus.PROBLEM, "unset RAY_ADDRESS")
    assert check.found.startswith(f"OSError: RAY_ADDRESS=ray://127.0.0.1:{port} does not answer: ")
    monkeypatch.setenv("RAY_ADDRESS", "head-node")
    assert probe.make() == Check(
        "ray address", CheckStatus.PROBLEM, "RAY_ADDRESS=head-node has no host and port", "write it as host:6379"
    )
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    assert probe.make() == Check("ray address", CheckStatus.OK, "RAY_ADDRESS is auto")


def test_a_port_that_swallows_what_it_is_sent_does_not_hold_anybody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        monkeypatch.setenv("no_proxy", "*")
        check = Probe("hub", services.hub, "look at the network", seconds=0.1).make()
    assert check == Check("hub", CheckStatus.PROBLEM, "no answer within 0.1 s", "look at the network")


def test_the_hub_is_asked_only_if_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    with answering() as port:
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{port}")
        assert services.hub().status is CheckStatus.OK  # 403 is an answer
    with closed_port() as port:
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{port}")
        check = diagnose(online=True).checks[-1]
    assert (check.name, check.status) == ("hub", CheckStatus.PROBLEM)


def test_an_output_that_cannot_be_written_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for out in (str(tmp_path / "file" / "out"), str(NO_FOLDER), "http://127.0.0.1/out", "s3x://bucket/out"):
        check = diagnose(out).checks[-1]
        assert (check.name, check.status) == ("output", CheckStatus.PROBLEM)
        assert check.found.split(":")[0] in ("NotADirectoryError", "FileNotFoundError", "StoreError")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_an_object_store_is_tried_like_a_disk() -> None:
    finding = services.output("memory://doctor/out")
    assert finding.status is CheckStatus.OK
    assert fsspec.filesystem("memory").find("/doctor") == []


def test_a_store_that_lets_both_writers_succeed_is_a_problem(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Careless(LocalStore):
        def create(self, name: str, data: bytes) -> bool:
            self.write(name, data)
            return True

    monkeypatch.setattr(services, "open_store", Careless)
    finding = services.output(str(tmp_path / "out"))
    assert finding.status is CheckStatus.PROBLEM
    assert "were answered [True, True], not [True, False]" in finding.found


def test_a_model_cache_on_a_network_disk_is_slow(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(services, "network_disk", lambda folder: "nfs4" if folder == tmp_path else "")
    finding = services.model_cache()
    assert finding.status is CheckStatus.WARNING
    assert finding.found.endswith("; writable, on a network disk (nfs4)")
    assert "set HF_HOME to a local disk" in finding.advice


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_clock_that_is_off_is_seen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, hours: int) -> None:
    class Elsewhere(LocalStore):
        """A disk of a machine with another time."""

        def create(self, name: str, data: bytes) -> bool:
            created = super().create(name, data)
            when = time.time() + hours * 3600
            os.utime(self.root / name, (when, when))
            return created

    monkeypatch.setattr(services, "open_store", Elsewhere)
    finding = services.output(str(tmp_path / "out"))
    assert finding.status is CheckStatus.WARNING
    assert re.search(r"its clock and this machine's are 3[56]\d\d s apart", finding.found)


def test_the_clock_of_an_object_store_is_compared(object_store: FreshUrl, monkeypatch: pytest.MonkeyPatch) -> None:
    url = object_store()
    assert services.output(url).status is CheckStatus.OK
    really = time.time
    monkeypatch.setattr(services.time, "time", lambda: really() - 3600)
    assert "s apart" in services.output(url).found
