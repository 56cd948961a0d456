"""Where an output folder lies: a local disk or an object store, with the same few promises on both.

    a file is there whole or not at all;  `create` succeeds for one of any number of callers;  a list is up to date

Names are relative to the folder, with slashes: `commits/u000001.json`. Credentials and endpoints are never in a config:
object stores take them from their own environment (`AWS_*`, `AWS_ENDPOINT_URL`, `FSSPEC_S3_*`, ...).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from augment.data.tar import sync_folder, write_bytes_atomic

_PIECE = 16 * 2**20  # bytes


class StoreError(OSError):
    """A store that cannot be used at all; the message says why and what to do."""


class Store(ABC):
    """One output folder."""

    def __init__(self, url: str) -> None:
        self.url = url

    def __str__(self) -> str:
        return self.url

    def at(self, name: str) -> str:
        """The full path or URL of a file, for people and for other readers."""
        return f"{self.url}/{name}"

    @abstractmethod
    def read(self, name: str) -> bytes:
        """A whole file. Raises FileNotFoundError if there is none."""

    @abstractmethod
    def open(self, name: str) -> BinaryIO:
        """A file to be read piece by piece. Raises FileNotFoundError if there is none."""

    @abstractmethod
    def list(self, folder: str = "") -> dict[str, int]:
        """Full names -> bytes of the finished files directly in a folder, sorted; empty if there is no such folder."""

    @abstractmethod
    def exists(self, name: str) -> bool:
        """Whether there is such a file."""

    @abstractmethod
    def write(self, name: str, data: bytes) -> None:
        """Make a file or replace it: a reader sees the old content or the new one, never a part."""

    @abstractmethod
    def create(self, name: str, data: bytes) -> bool:
        """Make a file unless there is one; of several callers at once, one succeeds."""

    @abstractmethod
    def append(self, name: str, data: bytes) -> None:
        """Add lines to a log. On an object store a log is several objects, `<stem>-<time>.<extension>`."""

    @abstractmethod
    def put(self, local: Path, name: str) -> None:
        """Move a finished local file to its place, replacing what is there. Raises OSError if it did not arrive."""

    @abstractmethod
    def move(self, names: Mapping[str, str]) -> None:
        """Give files other names, old -> new, replacing what is there. An object store copies, without a download."""

    @abstractmethod
    def remove(self, names: Iterable[str]) -> None:
        """Delete files; one that is not there is no error."""

    @abstractmethod
    def clear(self, folder: str) -> None:
        """Delete a folder with all that is in it, if there is one."""

    @abstractmethod
    def scratch(self) -> contextlib.AbstractContextManager[Path]:
        """A new local folder to build files in, from which `put` is cheap; gone after the block."""

    @abstractmethod
    def sweep(self) -> None:
        """Remove what killed writers left unfinished. Only for who is sure that nobody writes now."""

    def sha256(self, name: str) -> str:
        """Hexadecimal SHA-256 of a file, read in pieces. Raises FileNotFoundError if there is none."""
        digest = hashlib.sha256()
        with self.open(name) as file:
            while piece := file.read(_PIECE):
                digest.update(piece)
        return digest.hexdigest()

    def read_many(self, names: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        """The content of many small files, in the order given; one that is gone meanwhile is left out."""
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                yield name, self.read(name)


class LocalStore(Store):
    """A folder of a POSIX file system, on which `link` fails if the name exists. It may be shared between machines."""

    def __init__(self, path: Path | str) -> None:
        self.root = Path(path)
        super().__init__(str(self.root))

    def read(self, name: str) -> bytes:
        return (self.root / name).read_bytes()

    def open(self, name: str) -> BinaryIO:
        return (self.root / name).open("rb")

    def list(self, folder: str = "") -> dict[str, int]:
        prefix = f"{folder}/" if folder else ""
        found = {}
        try:
            entries = os.scandir(self.root / folder)
        except (FileNotFoundError, NotADirectoryError):
            return {}
        with entries:
            for entry in entries:
                if entry.name.startswith(".") and entry.name.endswith(".tmp"):
                    continue
                with contextlib.suppress(FileNotFoundError):  # removed since: this one is not there, the others are
                    if entry.is_file():
                        found[f"{prefix}{entry.name}"] = entry.stat().st_size
        return dict(sorted(found.items()))

    def exists(self, name: str) -> bool:
        return (self.root / name).is_file()

    def write(self, name: str, data: bytes) -> None:
        write_bytes_atomic(self.root / name, data)

    def create(self, name: str, data: bytes) -> bool:
        path = self.root / name
        beside = path.parent / f".{path.name}.{uuid.uuid4().hex}.tmp"
        write_bytes_atomic(beside, data)
        try:
            os.link(beside, path)
        except FileExistsError:
            return False
        finally:
            beside.unlink(missing_ok=True)
        sync_folder(path.parent)
        return True

    def append(self, name: str, data: bytes) -> None:
        (self.root / name).parent.mkdir(parents=True, exist_ok=True)
        with (self.root / name).open("ab") as file:
            file.write(data)

    def put(self, local: Path, name: str) -> None:
        with local.open("rb") as file:
            os.fsync(file.fileno())  # the name must not outlive a power cut without the bytes
        self._rename({local: self.root / name})

    def move(self, names: Mapping[str, str]) -> None:
        self._rename({self.root / old: self.root / new for old, new in names.items()})

    def _rename(self, paths: Mapping[Path, Path]) -> None:
        folders = {new.parent for new in paths.values()}
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
        for old, new in paths.items():
            os.replace(old, new)
        for folder in folders:
            sync_folder(folder)

    def remove(self, names: Iterable[str]) -> None:
        for name in names:
            (self.root / name).unlink(missing_ok=True)

    def clear(self, folder: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self.root / folder)

    @contextlib.contextmanager
    def scratch(self) -> Iterator[Path]:
        self.root.mkdir(parents=True, exist_ok=True)
        path = self.root / f".scratch-{uuid.uuid4().hex}.tmp"
        path.mkdir()
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)

    def sweep(self) -> None:
        for folder in ("", "run", "run/journal", "plan", "commits", "parts", "shards", "rejected"):
            for path in (self.root / folder).glob(".*.tmp"):
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def open_store(url: Path | str) -> Store:
    """The store of an output folder: a path, or a URL. Raises StoreError if there is none for that URL."""
    text = str(url).removeprefix("file://")
    if "://" not in text:
        return LocalStore(text)
    from augment.data.object_store import ObjectStore  # here, because it is a Store

    return ObjectStore(text)
