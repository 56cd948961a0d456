"""An address where no Ray is: known within seconds, and signals are heard meanwhile."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from augment.distribute.reach import check_reachable
from augment.errors import WorkerError
from tests.closed_port import closed_port

HELLO_OF_A_SERVER = bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])  # an empty SETTINGS frame of HTTP/2


@pytest.fixture
def free_port() -> Iterator[int]:
    with closed_port() as port:
        yield port


def serve(answer: bytes) -> Iterator[int]:
    """Answer one connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def once() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(64)
                connection.sendall(answer)

        thread = threading.Thread(target=once)
        thread.start()
        yield server.getsockname()[1]
        thread.join()


@pytest.fixture
def gives_grpc() -> Iterator[int]:
    yield from serve(HELLO_OF_A_SERVER)


@pytest.fixture
def gives_a_page() -> Iterator[int]:
    yield from serve(b"HTTP/1.1 400 Bad Request\r\n\r\n")


@pytest.mark.parametrize("prefix", ["", "ray://"])
def test_an_address_where_nobody_answers(prefix: str, free_port: int) -> None:
    began = time.monotonic()
    address = f"{prefix}127.0.0.1:{free_port}"
    with pytest.raises(
        WorkerError, match=rf"run.address '{address}': nobody answers .* start --head --port={free_port}"
    ):
        check_reachable(address, seconds=1.0)
    assert 0.4 < time.monotonic() - began < 10.0


def test_an_address_that_the_environment_names(free_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{free_port}")
    check_reachable("local", seconds=1.0)
    with pytest.raises(WorkerError, match=rf"run.address 'auto' \(RAY_ADDRESS is '127.0.0.1:{free_port}'\): nobody"):
        check_reachable("auto", seconds=1.0)
    monkeypatch.delenv("RAY_ADDRESS")
    check_reachable("auto", seconds=1.0)


def test_a_name_that_is_no_machine() -> None:
    with pytest.raises(WorkerError, match="there is no machine of that name"):
        check_reachable("no-such-machine.invalid:6379")


def test_a_server_that_is_no_ray(gives_a_page: int) -> None:
    with pytest.raises(WorkerError, match=r"something answers there, but it is no Ray.*not that of the dashboard"):
        check_reachable(f"127.0.0.1:{gives_a_page}")


def test_a_server_that_speaks_grpc(gives_grpc: int) -> None:
    check_reachable(f"127.0.0.1:{gives_grpc}")


@pytest.mark.ray
@pytest.mark.timeout(120)
def test_a_signal_is_heard_while_nobody_answers(free_port: int) -> None:
    code = (
        "import sys\nfrom augment.cli.output import messages\nfrom augment.distribute.cluster import ray_session\n"
        "from augment.distribute.config import RunConfig\n"
        f"run = RunConfig(executor='ray', address='127.0.0.1:{free_port}')\n"
        "try:\n    with messages():\n        print('begun', flush=True)\n"
        "        with ray_session(run):\n            pass\n"
        "except BaseException as stop:\n    sys.exit(stop.exit_code)\n"
    )
    from_root = {"cwd": Path(__file__).parents[2], "text": True}
    process = subprocess.Popen([sys.executable, "-c", code], stdout=-1, stderr=-1, **from_root)
    assert process.stdout is not None and process.stdout.readline() == "begun\n"
    time.sleep(1.0)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert "stopped by SIGTERM" in errors
    assert process.returncode == 143
