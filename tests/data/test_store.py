"""One folder, three kinds of store, the same promises."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from augment.data.store import LocalStore, Store, StoreError, open_store
from tests.object_store import Fault, FreshUrl, _server, faults, object_store  # noqa: F401


@pytest.fixture(params=["local", "memory", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    if request.param == "local":
        yield open_store(tmp_path / "out")
    elif request.param == "memory":
        memory = open_store("memory://out")
        yield memory
        memory.clear("")
    else:
        yield open_store(request.getfixturevalue("object_store")())


def test_create(store: Store) -> None:
    assert store.create("commits/u0.json", b"first")
    assert not store.create("commits/u0.json", b"second")
    assert store.read("commits/u0.json") == b"first"
