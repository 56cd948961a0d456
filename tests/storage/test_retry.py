"""A driver's store waits for an output that does not answer, and for nothing else."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from augment.errors import StoreError
from augment.ledger.in_flight import InFlight, Suspects
from augment.ledger.ledger import Ledger
from augment.report.progress import RunProgress
from augment.run.watch import RunWatch
from augment.storage.local_store import LocalStore
from augment.storage.object_store import ObjectStore
from augment.storage.retry import RetryingStore, is_permanent

OUTAGE = OSError(errno.EIO, "Input/output error")


class Failing(LocalStore):
    """Fails so many times, with any of its calls that the test makes, and then does what it is asked for."""

    def __init__(self, path: Path, times: int, error: OSError = OUTAGE) -> None:
        super().__init__(path)
        self.times, self.error = times, error

    def _fail(self) -> None:
        if self.times:
            self.times -= 1
            raise self.error

    def read(self, name: str) -> bytes:
        self._fail()
        return super().read(name)

    def write(self, name: str, data: bytes) -> None:
        self._fail()
        super().write(name, data)

    def create(self, name: str, data: bytes) -> bool:
        self._fail()
        return super().create(name, data)

    def append(self, name: str, data: bytes) -> None:
        self._fail()
        super().append(name, data)

    def remove(self, names: object) -> None:
        self._fail()
        super().remove(names)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def short_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("augment.storage.retry.BACKOFF_SECONDS", 0.001)


def test_it_asks_again_until_there_is_an_answer(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    failing = Failing(tmp_path, 3)
    store = RetryingStore(failing)
    store.write("a/b", b"x")
    assert failing.times == 0
    assert len(caplog.records) == 3
    assert "does not answer, the call is repeated: [Errno 5]" in caplog.text
    failing.times = 2
    assert store.create("a/b", b"y") is False
    assert (store.read("a/b"), store.exists("a/b"), list(store.list("a"))) == (b"x", True, ["a/b"])


def test_that_there_is_no_file_is_an_answer(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        RetryingStore(LocalStore(tmp_path)).read("nothing")


def test_an_outage_that_does_not_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("augment.storage.retry.OUTAGE_SECONDS", 0.05)
    with pytest.raises(OSError, match="Input/output"):
        RetryingStore(Failing(tmp_path, 10**6)).read("a")


@pytest.mark.parametrize(
    "error", [PermissionError("Access Denied"), OSError(errno.ENOSPC, "No space left"), StoreError("no such scheme")]
)
def test_what_waiting_does_not_help(tmp_path: Path, error: OSError) -> None:
    failing = Failing(tmp_path, 2, error)
    with pytest.raises(OSError, match=str(error.args[-1])):
        RetryingStore(failing).read("a")
    assert failing.times == 1


def test_a_full_disk_of_one_machine_is_no_end_for_an_object_store() -> None:
    full = OSError(errno.ENOSPC, "No space left")
    assert not is_permanent(full, ObjectStore("memory://somewhere"))
    assert is_permanent(PermissionError("Access Denied"), ObjectStore("memory://somewhere"))  # s3fs gives no errno


def test_suspects_are_written_with_retries_and_discarding_a_file_is_tried_once(tmp_path: Path) -> None:
    InFlight(LocalStore(tmp_path), "u0", "a").begin(["fox", "owl"])
    failing = Failing(tmp_path, 0)
    suspects = Suspects(failing)
    failing.times = 2
    begun = suspects.worker_died("u0", "a")
    assert begun is not None
    assert begun.keys == ("fox", "owl")
    assert (tmp_path / "run" / "suspects.json").exists()
    failing.times = 1
    suspects.discard("u0", "b")  # no retry
    assert failing.times == 0


def test_events_that_cannot_be_written_wait(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ledger = Ledger(Failing(tmp_path, 1))
    ledger.log.add("unit", {"unit_id": "u0"})
    ledger.log.flush()
    assert "run/events.jsonl was not written" in caplog.text
    ledger.log.add("unit", {"unit_id": "u1"})
    ledger.log.flush()
    assert (tmp_path / "run" / "events.jsonl").read_text().count("\n") == 2


def test_a_status_that_cannot_be_written_ends_no_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    failing = Failing(tmp_path, 0)
    ledger = Ledger(failing)
    with ledger.lock() as lease:
        watch = RunWatch(ledger, lease, RunProgress(4), lambda: None)
        failing.times = 1
        watch.tick(1)
        assert failing.times == 0
        assert "run/status.json was not written" in caplog.text
        watch.write_status("running")
    assert (tmp_path / "run" / "status.json").exists()
