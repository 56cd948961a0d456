"""An output folder of which some folders are links to another disk, where nothing can be renamed to."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from augment.storage.local_store import LocalStore
from augment.storage.retry import is_permanent
from tests.dataset.parts import finished_ledger, publish
from tests.dataset.verified import verify


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalStore:
    """A store whose parts and shards are on another disk."""
    out, disk = tmp_path / "out", tmp_path / "disk"
    out.mkdir()
    for name in ("parts", "shards"):
        (disk / name).mkdir(parents=True)
        (out / name).symlink_to(disk / name)

    def within(rename: Callable[..., None]) -> Callable[..., None]:
        def renamed(old: Any, new: Any) -> None:
            on_disk = {Path(os.path.realpath(path)).is_relative_to(disk) for path in (old, new)}
            if len(on_disk) == 2:
                raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), str(old), None, str(new))
            rename(old, new)

        return renamed

    monkeypatch.setattr(os, "rename", within(os.rename))
    monkeypatch.setattr(os, "replace", within(os.replace))
    return LocalStore(out)


def left(store: LocalStore) -> list[Path]:
    """Files that are half way."""
    return [path for path in store.root.parent.rglob("*") if path.name.endswith(".tmp")]


def test_files_are_put_and_moved_there(store: LocalStore) -> None:
    with store.scratch() as folder:
        (folder / "a").write_bytes(b"a")
        store.put(folder / "a", "parts/a.tar")
    store.write("run/publishing/000001/shards/b", b"b")
    store.move({"run/publishing/000001/shards/b": "shards/b"})
    assert (store.read("parts/a.tar"), store.read("shards/b")) == (b"a", b"b")
    assert store.list("run/publishing/000001/shards") == {} and left(store) == []
    with pytest.raises(FileNotFoundError):
        store.move({"run/publishing/000001/shards/c": "shards/c"})


def test_what_was_taken_away_meanwhile_is_not_put_in_place(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver that was suspended while it copied has lost its lease, and what it had staged."""
    store.write("run/staged", b"new")
    store.write("shards/a", b"old")
    monkeypatch.setattr(os, "fsync", lambda _: (store.root / "run" / "staged").unlink(missing_ok=True))
    with pytest.raises(FileNotFoundError):
        store.move({"run/staged": "shards/a"})
    assert store.read("shards/a") == b"old" and left(store) == []


def test_files_are_withdrawn_from_there(store: LocalStore) -> None:
    store.write("parts/a.tar", b"a")
    with pytest.raises(FileNotFoundError):
        store.withdraw(["parts/a.tar"], "run/publishing/.removed")
    assert store.exists("parts/a.tar")
    store.write("run/publishing/.removed/folder", b"")
    store.withdraw(["parts/a.tar", "parts/b.tar"], "run/publishing/.removed")
    assert store.list("parts") == {}
    store.clear("run/publishing/.removed")
    assert store.folders("run/publishing") == set() and left(store) == []


def test_a_run_publishes_there(store: LocalStore) -> None:
    ledger = finished_ledger(store.root)
    with ledger.lock():
        publish(ledger, max_shard_samples=2)
        publish(ledger, 0.75, max_shard_samples=2)
        ledger.write_part("u000000", [("orphan", {"txt": b"x"})])
        assert len(ledger.recover()) == len(store.list("parts")) == 3
    assert verify(store.root).problems == [] and left(store) == []


def test_an_error_that_stays_is_not_waited_for(tmp_path: Path) -> None:
    assert is_permanent(OSError(errno.EXDEV, "Invalid cross-device link"), LocalStore(tmp_path))
