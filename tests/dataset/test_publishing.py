"""Publishing on a disk and on an object store, and what is left when it fails."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from augment.dataset.parts import read_part, read_reconstructions
from augment.dataset.publish import read_manifest
from augment.errors import OutputError
from augment.ledger.ledger import Ledger
from tests.dataset.parts import finished_ledger, publish
from tests.object_store import Fault, FreshUrl


def test_an_object_store_gets_the_bytes_that_a_disk_gets(tmp_path: Path, object_store: FreshUrl) -> None:
    publish(finished_ledger(tmp_path), max_shard_samples=3)
    remote = finished_ledger(object_store())
    publish(remote, 0.9, max_shard_samples=1)  # leaves more shards behind than there will be
    first = publish(remote, max_shard_samples=3)
    names = ["manifest.json", *first.manifest["files"]]
    assert len(names) == 11
    assert {name: remote.store.read(name) for name in names} == {name: (tmp_path / name).read_bytes() for name in names}
    store = remote.store
    assert store.list("shards") | store.list("rejected") | store.list() == {
        name: (tmp_path / name).stat().st_size for name in names
    }
    assert store.list(".finalize/0") == store.list(".finalize/0/shards") == {}
    second = publish(remote, check_hashes=True, max_shard_samples=3)
    assert (first.changed, second.changed, second.manifest) == (True, False, first.manifest)


@pytest.mark.parametrize(
    ("where", "published"),
    [
        (".finalize/0/shards/train-000000.tar", True),  # while the new files are built, the old ones are whole
        ("out-new/shards/train-000000.tar", False),  # while they are replaced, there is no manifest
        ("out-new/manifest.json", False),
    ],
)
def test_a_store_that_fails_while_publishing(
    object_store: FreshUrl, faults: list[Fault], where: str, published: bool
) -> None:
    ledger = finished_ledger(f"{object_store()}/out-new")
    before = publish(ledger, 0.9).manifest
    faults.append(Fault("PUT", where, "403 Forbidden", "AccessDenied"))
    with pytest.raises(PermissionError):
        publish(ledger)
    assert read_manifest(ledger.store) == (before if published else None)
    if published:
        assert not publish(ledger, 0.9, check_hashes=True).changed
    after = publish(ledger)
    assert after.changed
    assert not publish(ledger, check_hashes=True).changed
    assert after.manifest["accepted"] == 4


def test_a_disk_that_fails_while_publishing(tmp_path: Path) -> None:
    ledger = finished_ledger(tmp_path)
    before = publish(ledger).manifest
    (tmp_path / "index.parquet").unlink()
    (tmp_path / "index.parquet" / "in the way").mkdir(parents=True)
    with pytest.raises(OSError, match=r"index\.parquet"):
        publish(ledger)
    assert read_manifest(ledger.store) is None
    (tmp_path / "index.parquet" / "in the way").rmdir()
    (tmp_path / "index.parquet").rmdir()
    assert publish(ledger).manifest == before
    assert not publish(ledger, check_hashes=True).changed


@pytest.mark.parametrize("kind", ["local", "s3"])
@pytest.mark.parametrize("damage", ["one byte", "cut off", "missing"])
def test_a_damaged_part_is_an_error_that_says_what_to_delete(
    tmp_path: Path, kind: str, damage: str, request: pytest.FixtureRequest
) -> None:
    ledger = finished_ledger(tmp_path if kind == "local" else request.getfixturevalue("object_store")())
    report = ledger.report_of("u000001")
    part = f"parts/{report.part}"
    data = ledger.store.read(part)
    if damage == "missing":
        ledger.store.remove([part])
        message = rf"{part} is missing or damaged"
        with pytest.raises(OutputError, match=message):
            list(read_part(ledger, report))
        with pytest.raises(OutputError, match=message):
            read_reconstructions(ledger, report)
        with pytest.raises(OutputError, match="1 of 3 units are not done"):  # it is as if it had never been done
            publish(ledger)
    else:
        ledger.store.write(part, data[:-1] + b"x" if damage == "one byte" else data[:2000])
        with pytest.raises(OutputError, match=rf"{part} is missing or damaged.*Delete {ledger.store}.*u000001\.json"):
            publish(ledger)
    assert read_manifest(ledger.store) is None


@pytest.mark.parametrize("kind", ["local", "s3"])
@pytest.mark.parametrize("when", ["building", "moving"])
def test_a_driver_that_lost_its_lock_spoils_nothing(
    tmp_path: Path, kind: str, when: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Suspended while it publishes, long enough for another one to take over and finish."""
    out = str(tmp_path / "out") if kind == "local" else request.getfixturevalue("object_store")()
    ledger, calls = finished_ledger(out), iter(range(10**6))
    asleep: list[float] = []  # seconds
    stop_at = 2 if when == "building" else 9  # of the looks at the lock

    def suspended() -> None:
        if next(calls) == stop_at:
            lease = ledger.store.read("run/lease-000001.json")
            ledger.store.write("run/lease-000001.json", json.dumps(json.loads(lease) | {"renewed": 0.0}).encode())
            other = Ledger(out)
            with other.lock():
                publish(other, 0.9)
            asleep.append(60.0)
        confirm()

    with ledger.lock(clock=lambda: time.monotonic() + sum(asleep)):
        confirm = ledger.confirm_lock
        monkeypatch.setattr(ledger, "confirm_lock", suspended)
        with pytest.raises(OutputError, match="was taken over by another run"):
            publish(ledger, max_shard_samples=3)
    assert next(calls) == stop_at + 1
    other = Ledger(out)
    with other.lock():
        assert not publish(other, 0.9, check_hashes=True).changed
