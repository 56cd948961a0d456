"""Where an output folder lies: a local disk or an object store, with the same few promises on both.

    a file is there whole or not at all;  `create` succeeds for one of any number of callers;  a list is up to date

Names are relative to the folder, with slashes: `commits/u000001.json`. Credentials and endpoints are never in a config:
object stores take them from their own environment (`AWS_*`, `AWS_ENDPOINT_URL`, `FSSPEC_S3_*`, ...).
"""

from __future__ import annotations

import contextlib
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

_PIECE = 16 * 2**20  # bytes


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
