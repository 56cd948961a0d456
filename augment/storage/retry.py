"""A store for a driver: while the output does not answer, it waits and asks again, as its workers do."""

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
PAUSE_SECONDS, OUTAGE_SECONDS = 10.0, 600.0  # between two tries; until it is no outage any more
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
T = TypeVar("T")


def is_hopeless(error: OSError, store: Store) -> bool:
    """Whether waiting, or another worker, would not help: no permission, or no room in the folder all share."""
    # An object store's files are built on the worker's own disk first; the next worker's may have room.
    no_room = error.errno in _NO_ROOM and isinstance(store, LocalStore)
    return no_room or isinstance(error, PermissionError | StoreError)


class PatientStore(Store):
    """Another store, each call of which is made again for up to `OUTAGE_SECONDS` while that does not answer."""

    def __init__(self, store: Store) -> None:
        super().__init__(store.url)
        self._store = store

    def _asked(self, action: Callable[[], T]) -> T:
        began = time.monotonic()
        while True:
            try:
                return action()
            except (FileNotFoundError, FileExistsError, NotADirectoryError, IsADirectoryError):
                raise  # an answer
            except OSError as error:
                if is_hopeless(error, self._store) or time.monotonic() - began > OUTAGE_SECONDS:
                    raise
                logger.warning("%s does not answer, it is asked again: %s", self, error)
            time.sleep(PAUSE_SECONDS)

    def read(self, name: str) -> bytes:
        return self._asked(lambda: self._store.read(name))

    def open(self, name: str) -> BinaryIO:
        return self._asked(lambda: self._store.open(name))

    def list(self, folder: str = "") -> dict[str, int]:
        return self._asked(lambda: self._store.list(folder))

    def exists(self, name: str) -> bool:
        return self._asked(lambda: self._store.exists(name))

    def write(self, name: str, data: bytes) -> None:
        self._asked(lambda: self._store.write(name, data))

    def create(self, name: str, data: bytes) -> bool:
        return self._asked(lambda: self._store.create(name, data))

    def append(self, name: str, data: bytes) -> None:
        self._asked(lambda: self._store.append(name, data))

    def put(self, local: Path, name: str) -> None:
        self._asked(lambda: self._store.put(local, name))

    def move(self, names: Mapping[str, str]) -> None:
        self._store.move(names)  # once: what was moved before a failure is not there to be moved again

    def remove(self, names: Iterable[str]) -> None:
        wanted = list(names)
        self._asked(lambda: self._store.remove(wanted))

    def clear(self, folder: str) -> None:
        self._asked(lambda: self._store.clear(folder))

    def scratch(self) -> AbstractContextManager[Path]:
        return self._store.scratch()

    def sweep(self) -> None:
        self._asked(self._store.sweep)

    def read_many(self, names: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        return self._store.read_many(names)
