"""The interface of output folders, on a local disk or an object store. Both keep the same promises:

    a file exists whole or not at all;  `create` succeeds for one of any number of callers;  a listing is up to date

Names are relative to the folder, with slashes: `commits/u000001.json`. Credentials and endpoints are never in a config:
object stores take them from their own environment (`AWS_*`, `AWS_ENDPOINT_URL`, `FSSPEC_S3_*`, ...).
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from augment.errors import OutputError

_PIECE = 16 * 2**20  # bytes


class Store(ABC):
    """One output folder.

    Attributes:
        url: its path or URL, without a slash at the end.
    """

    def __init__(self, url: str) -> None:
        self.url = url

    def __str__(self) -> str:
        return self.url

    def at(self, name: str) -> str:
        """Return the full path or URL of a file, for messages and for other readers."""
        return f"{self.url}/{name}"

    @abstractmethod
    def read(self, name: str) -> bytes:
        """Return the content of a file. Raises FileNotFoundError if there is none."""

    def read_if_there(self, name: str) -> bytes | None:
        """Return a file's content, or None if there is no such file. Raises OutputError for any other reason."""
        try:
            return self.read(name)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except Exception as error:  # object stores have errors of their own for missing buckets and credentials
            raise OutputError(
                f"{self.at(name)} could not be read ({type(error).__name__}: {error}). Look at its permissions; for a "
                "URL also at the network and the credentials."
            ) from error

    @abstractmethod
    def open(self, name: str) -> BinaryIO:
        """Return an open file, to be read in pieces. Raises FileNotFoundError if there is none."""

    @abstractmethod
    def list(self, folder: str = "") -> dict[str, int]:
        """Return full names -> sizes in bytes of the finished files directly in a folder, sorted by name.

        A folder that does not exist is empty.
        """

    @abstractmethod
    def folders(self, folder: str) -> set[str]:
        """Return the names, without those of their folders, of the folders directly in a folder that hold files."""

    @abstractmethod
    def exists(self, name: str) -> bool:
        """Return whether a file exists."""

    @abstractmethod
    def write(self, name: str, data: bytes) -> None:
        """Create or replace a file; a reader sees the old content or the new one, never a part."""

    @abstractmethod
    def create(self, name: str, data: bytes) -> bool:
        """Create a file unless it exists; return whether it was created. Of several callers at once, one succeeds."""

    @abstractmethod
    def append(self, name: str, data: bytes) -> None:
        """Append lines to a log. On an object store a log is several objects, `<stem>-<time>.<extension>`."""

    @abstractmethod
    def put(self, local: Path, name: str) -> None:
        """Move a finished local file into the folder, replacing a file of that name. Raises OSError if it fails."""

    @abstractmethod
    def move(self, names: Mapping[str, str]) -> None:
        """Rename files, old -> new, replacing existing ones. An object store copies them, without a download."""

    @abstractmethod
    def remove(self, names: Iterable[str]) -> None:
        """Delete files; a file that does not exist is no error."""

    @abstractmethod
    def withdraw(self, names: Iterable[str], folder: str) -> None:
        """Delete files, on condition that a folder exists; one that does not exist is no error.

        On a disk each is moved into the folder, which fails in the moment in which the folder has gone. An object store
        has no such step, see `withdraws_at_once`, and deletes without the condition.

        Raises:
            FileNotFoundError: if there is no such folder.
        """

    @property
    @abstractmethod
    def withdraws_at_once(self) -> bool:
        """Return whether the condition of `withdraw` and its deed are one step."""

    @abstractmethod
    def clear(self, folder: str) -> None:
        """Delete a folder with all its files, if it exists."""

    @abstractmethod
    def scratch(self) -> contextlib.AbstractContextManager[Path]:
        """Return a new local folder to build files in, from which `put` is cheap; deleted after the block."""

    @abstractmethod
    def sweep(self, confirm: Callable[[], None] = lambda: None) -> None:
        """Remove unfinished files of writers that were killed. Only call it while nobody writes.

        Args:
            confirm: called when it is known what to remove, and before it is; raises to prevent it.
        """

    def local_path(self, name: str) -> Path | None:
        """Return the path of a file that can be opened as it lies there; None in an object store."""
        return None

    def download(self, name: str, local: Path) -> None:
        """Copy a file to this machine, in pieces. Raises FileNotFoundError if there is none."""
        with self.open(name) as file, local.open("wb") as copy:
            shutil.copyfileobj(file, copy, _PIECE)

    def sha256(self, name: str) -> str:
        """Return the hexadecimal SHA-256 of a file, read in pieces. Raises FileNotFoundError if there is none."""
        digest = hashlib.sha256()
        with self.open(name) as file:
            while piece := file.read(_PIECE):
                digest.update(piece)
        return digest.hexdigest()

    def read_many(self, names: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        """Yield (name, content) of many small files, in the order given; files deleted meanwhile are left out."""
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                yield name, self.read(name)
