"""An output folder in memory that keeps the promises of `Store`, and clients of it to which things happen."""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, Literal, TypeVar

from augment.storage.store import Store

T = TypeVar("T")
LostAnswer = Literal["", "before", "after", "repeated"]


class Killed(BaseException):
    """Raised in a client whose process is no more; nothing of ours may catch it."""


class MemoryStore(Store):
    """Files in a dictionary."""

    def __init__(self) -> None:
        super().__init__("memory://test")
        self.files: dict[str, bytes] = {}

    def read(self, name: str) -> bytes:
        if name not in self.files:
            raise FileNotFoundError(self.at(name))
        return self.files[name]

    def open(self, name: str) -> BinaryIO:
        return io.BytesIO(self.read(name))

    def list(self, folder: str = "") -> dict[str, int]:
        found = {name: len(data) for name, data in self.files.items() if name.rpartition("/")[0] == folder}
        # Names that end in something random in the order they were made: the same test does the same twice.
        return dict(sorted(found.items(), key=lambda item: item[0].partition("-")[0]))

    def folders(self, folder: str) -> set[str]:
        below = (name.removeprefix(f"{folder}/") for name in self.files if name.startswith(f"{folder}/"))
        return {name.partition("/")[0] for name in below if "/" in name}

    def exists(self, name: str) -> bool:
        return name in self.files

    def write(self, name: str, data: bytes) -> None:
        self.files[name] = data

    def create(self, name: str, data: bytes) -> bool:
        if name in self.files:
            return False
        self.files[name] = data
        return True

    def append(self, name: str, data: bytes) -> None:
        self.files[name] = self.files.get(name, b"") + data

    def put(self, local: Path, name: str) -> None:
        self.files[name] = local.read_bytes()
        local.unlink()

    def move(self, names: Mapping[str, str]) -> None:
        for old, new in names.items():
            self.files[new] = self.files.pop(old)

    def remove(self, names: Iterable[str]) -> None:
        for name in names:
            self.files.pop(name, None)

    def withdraw(self, names: Iterable[str], folder: str) -> None:
        self.remove(names)

    @property
    def withdraws_at_once(self) -> bool:
        return False

    def clear(self, folder: str) -> None:
        self.remove([name for name in self.files if name.startswith(f"{folder}/")])

    @contextlib.contextmanager
    def scratch(self) -> Iterator[Path]:
        memory = "/dev/shm"  # files are synced, which a disk takes long for
        with tempfile.TemporaryDirectory(dir=memory if os.path.isdir(memory) else None) as folder:
            yield Path(folder)

    def sweep(self, confirm: Callable[[], None] = lambda: None) -> None:
        """Do nothing: no write is ever half done."""


class Client(Store):
    """A process's view of a store.

    Attributes:
        calls_left: the process is killed when it makes one call more than these; None: it lives on.
        lost: what goes wrong with the next `create` of a commit: an error instead of it, an error after it, or the
            call is repeated although it was carried out.
    """

    def __init__(self, store: MemoryStore) -> None:
        super().__init__(store.url)
        self._store = store
        self.calls_left: int | None = None
        self.lost: LostAnswer = ""

    def kill(self) -> None:
        """Let no call of this process reach the store any more."""
        self.calls_left = 0

    def _call(self, action: Callable[[], T]) -> T:
        if self.calls_left is not None:
            if self.calls_left == 0:
                raise Killed
            self.calls_left -= 1
        return action()

    def create(self, name: str, data: bytes) -> bool:
        lost, self.lost = (self.lost, "") if name.startswith("commits/") else ("", self.lost)
        if lost == "before":
            raise OSError("503 Slow Down")
        created = self._call(lambda: self._store.create(name, data))
        if lost == "after":
            raise OSError("504 Gateway Timeout")
        return self._store.create(name, data) if lost == "repeated" else created

    def read(self, name: str) -> bytes:
        return self._call(lambda: self._store.read(name))

    def open(self, name: str) -> BinaryIO:
        return self._call(lambda: self._store.open(name))

    def list(self, folder: str = "") -> dict[str, int]:
        return self._call(lambda: self._store.list(folder))

    def folders(self, folder: str) -> set[str]:
        return self._call(lambda: self._store.folders(folder))

    def exists(self, name: str) -> bool:
        return self._call(lambda: self._store.exists(name))

    def write(self, name: str, data: bytes) -> None:
        self._call(lambda: self._store.write(name, data))

    def append(self, name: str, data: bytes) -> None:
        self._call(lambda: self._store.append(name, data))

    def put(self, local: Path, name: str) -> None:
        self._call(lambda: self._store.put(local, name))

    def move(self, names: Mapping[str, str]) -> None:
        self._call(lambda: self._store.move(names))

    def remove(self, names: Iterable[str]) -> None:
        self._call(lambda: self._store.remove(names))

    def withdraw(self, names: Iterable[str], folder: str) -> None:
        self._call(lambda: self._store.withdraw(names, folder))

    @property
    def withdraws_at_once(self) -> bool:
        return self._store.withdraws_at_once

    def clear(self, folder: str) -> None:
        self._call(lambda: self._store.clear(folder))

    def scratch(self) -> contextlib.AbstractContextManager[Path]:
        return self._store.scratch()

    def sweep(self, confirm: Callable[[], None] = lambda: None) -> None:
        self._call(lambda: self._store.sweep(confirm))
