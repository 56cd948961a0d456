"""Google Cloud Storage and Azure, when they fail or answer late. What every store promises is in `test_store.py`."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from augment.dataset.verify import verify
from augment.errors import OutputError
from augment.ledger.ledger import Ledger
from augment.storage.resolve import open_store
from augment.storage.retry import is_permanent
from tests.dataset.parts import finished_ledger, publish
from tests.emulators import Cloud
from tests.object_store import Fault, Request

pytestmark = pytest.mark.slow


def creation(cloud: Cloud, name: str) -> tuple[str, str]:
    """Method and end of the path of the request that creates a small object."""
    return ("POST", "/o") if cloud.fresh_url().startswith("gs:") else ("PUT", name)


@pytest.mark.parametrize("what", ["create", "write", "put", "read", "list", "remove"])
def test_no_permission_is_said_so(cloud: Cloud, what: str, tmp_path: Path) -> None:
    """Otherwise a run would ask again for ten minutes before it ended."""
    store = open_store(cloud.fresh_url())
    store.write("a/x.json", b"1")
    (tmp_path / "file").write_bytes(b"2")
    calls = {
        "create": lambda: store.create("a/y.json", b"2"),
        "write": lambda: store.write("a/x.json", b"2"),
        "put": lambda: store.put(tmp_path / "file", "a/x.json"),
        "read": lambda: store.read("a/x.json"),
        "list": lambda: store.list("a"),
        "remove": lambda: store.remove(["a/x.json"]),
    }
    refused = [
        Fault(method, "", "403 Forbidden", "AuthorizationFailure", 99) for method in ("GET", "PUT", "POST", "DELETE")
    ]
    cloud.faults.wanted.extend(refused)
    with pytest.raises(PermissionError) as raised:
        calls[what]()
    assert is_permanent(raised.value, store)
    cloud.faults.wanted.clear()
    assert store.read("a/x.json") == b"1"
    assert store.list("a") == {"a/x.json": 1}
    assert (tmp_path / "file").exists()


def test_a_commit_whose_answer_was_lost(cloud: Cloud) -> None:
    """The client asks a second time and is told that there is one: its own."""
    ledger = finished_ledger(cloud.fresh_url(), count=2)
    (report,) = ledger.committed().values()
    ledger.store.remove(["commits/u000000.json"])
    method, end = creation(cloud, "u000000.json")
    cloud.faults.wanted.append(Fault(method, end, carried_out=True))
    assert ledger.commit(report) == report
    assert cloud.faults.wanted[0].times == 0
    assert ledger.committed() == {"u000000": report}


def test_a_server_that_is_busy_is_asked_again(cloud: Cloud) -> None:
    store = open_store(cloud.fresh_url())
    method, end = creation(cloud, "x.json")
    cloud.faults.wanted.append(Fault(method, end, "503 Service Unavailable", "ServerBusy"))
    assert store.create("a/x.json", b"1")
    cloud.faults.wanted.append(Fault("GET", "x.json", "503 Service Unavailable", "ServerBusy"))
    assert store.read("a/x.json") == b"1"
    assert [fault.times for fault in cloud.faults.wanted] == [0, 0]


@pytest.mark.filterwarnings(
    "ignore:Sending a large body directly:ResourceWarning"
)  # adlfs and gcsfs send 50 MiB at once
def test_a_large_file_arrives_whole(cloud: Cloud, tmp_path: Path) -> None:
    """Clients send it in pieces."""
    store, data = open_store(cloud.fresh_url()), bytes(range(256)) * 240 * 2**10  # 60 MiB
    (tmp_path / "u0.tar").write_bytes(data)
    store.put(tmp_path / "u0.tar", "parts/u0.tar")
    assert store.list("parts") == {"parts/u0.tar": len(data)}
    assert store.sha256("parts/u0.tar") == hashlib.sha256(data).hexdigest()
    assert not (tmp_path / "u0.tar").exists()


def test_one_driver_at_a_time(cloud: Cloud) -> None:
    url = cloud.fresh_url()
    with Ledger(url).lock() as lease:
        lease.check()
        with pytest.raises(OutputError, match=r"is being written by another run"), Ledger(url).lock():
            pass
    with Ledger(url).lock():
        pass


def test_a_dataset_is_published_as_on_a_disk(cloud: Cloud, tmp_path: Path) -> None:
    publish(finished_ledger(tmp_path), max_shard_samples=3)
    remote = finished_ledger(cloud.fresh_url())
    files = publish(remote, max_shard_samples=3).manifest["files"]
    assert len(files) == 10
    assert {name: remote.store.read(name) for name in files} == {name: (tmp_path / name).read_bytes() for name in files}
    assert verify(remote.store.url).ok


# ---- Azure only -----------------------------------------------------------------------------------------------------
def test_a_copy_that_goes_on_after_the_answer_keeps_its_source(azure: Cloud) -> None:
    store = open_store(azure.fresh_url())
    store.write("staged/a", b"new")
    asked: list[str] = []

    def pending(request: Request, headers: dict[str, str]) -> None:
        if request["REQUEST_METHOD"] == "HEAD" and "x-ms-copy-status" in headers:
            asked.append(headers["x-ms-copy-status"])
            if len(asked) < 3:
                headers["x-ms-copy-status"] = "pending"
                assert store.exists("staged/a")

    azure.passing.change, before = pending, azure.passing.change
    try:
        store.move({"staged/a": "a"})
    finally:
        azure.passing.change = before
    assert len(asked) == 3
    assert (store.read("a"), store.list("staged")) == (b"new", {})


def test_a_copy_that_fails_keeps_its_source(azure: Cloud) -> None:
    store = open_store(azure.fresh_url())
    store.write("staged/a", b"new")

    def failed(request: Request, headers: dict[str, str]) -> None:
        if "x-ms-copy-status" in headers:
            headers["x-ms-copy-status"] = "failed"

    azure.passing.change, before = failed, azure.passing.change
    try:
        with pytest.raises(OSError, match=r"/a: the copy ended as failed"):
            store.move({"staged/a": "a"})
    finally:
        azure.passing.change = before
    assert store.read("staged/a") == b"new"
