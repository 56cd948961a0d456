"""A store that repeats calls while the output does not answer: outages of object stores pass, a run should not end."""

from __future__ import annotations

import errno
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO, TypeVar

from augment.errors import StoreError
from augment.storage.local_store import LocalStore
from augment.storage.store import Store

logger = logging.getLogger(__name__)
BACKOFF_SECONDS = 10.0  # between two attempts
OUTAGE_SECONDS = 600.0  # after which a store that does not answer is an error
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
T = TypeVar("T")


def is_permanent(error: OSError, store: Store) -> bool:
    """Return whether neither a retry nor another worker can help.

    That is without permission, in a shared folder that is full, and where a file would cross from disk to disk.
    """
    # Files for an object store are built on the worker's own disk: another worker's disk may have room.
    no_way = error.errno in (*_NO_ROOM, errno.EXDEV) and isinstance(store, LocalStore)
    return no_way or isinstance(error, PermissionError | StoreError)


class RetryingStore(Store):
    """Wraps a store and repeats each call, every `BACKOFF_SECONDS` for up to `OUTAGE_SECONDS`, while it fails."""

    def __init__(self, store: Store) -> None:
        super().__init__(store.url)
        self._store = store

    def _retried(self, action: Callable[[], T]) -> T:
        began = time.monotonic()
        while True:
            try:
                return action()
            except (FileNotFoundError, FileExistsError, NotADirectoryError, IsADirectoryError):
                raise  # the store did answer
            except OSError as error:
                if is_permanent(error, self._store) or time.monotonic() - began > OUTAGE_SECONDS:
                    raise
                logger.warning("%s does not answer, the call is repeated: %s", self, error)
            time.sleep(BACKOFF_SECONDS)

    def read(self, name: str) -> bytes:
        return self._retried(lambda: self._store.read(name))

    def open(self, name: str) -> BinaryIO:
        return self._retried(lambda: self._store.open(name))

    def list(self, folder: str = "") -> dict[str, int]:
        return self._retried(lambda: self._store.list(folder))

    def folders(self, folder: str) -> set[str]:
        return self._retried(lambda: self._store.folders(folder))

    def exists(self, name: str) -> bool:
        return self._retried(lambda: self._store.exists(name))

    def write(self, name: str, data: bytes) -> None:
        self._retried(lambda: self._store.write(name, data))

    def create(self, name: str, data: bytes) -> bool:
        return self._retried(lambda: self._store.create(name, data))

    def append(self, name: str, data: bytes) -> None:
        self._retried(lambda: self._store.append(name, data))

    def put(self, local: Path, name: str) -> None:
        self._retried(lambda: self._store.put(local, name))

    def move(self, names: Mapping[str, str]) -> None:
        self._store.move(names)  # no retry: files moved before a failure cannot be moved again

    def remove(self, names: Iterable[str]) -> None:
        wanted = list(names)
        self._retried(lambda: self._store.remove(wanted))

    def withdraw(self, names: Iterable[str], folder: str) -> None:
        wanted = list(names)
        self._retried(lambda: self._store.withdraw(wanted, folder))

    @property
    def withdraws_at_once(self) -> bool:
        return self._store.withdraws_at_once

    def clear(self, folder: str) -> None:
        self._retried(lambda: self._store.clear(folder))

    def scratch(self) -> AbstractContextManager[Path]:
        return self._store.scratch()

    def sweep(self, confirm: Callable[[], None] = lambda: None) -> None:
        self._retried(lambda: self._store.sweep(confirm))

    def local_path(self, name: str) -> Path | None:
        return self._store.local_path(name)

    def read_many(self, names: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        return self._store.read_many(names)
