"""Paths and URLs as people write them, the bytes of files, and messages where there are none.

A URL is anything with `://`; whatever fsspec has a file system for will do. `file://` is the local path in it.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, cast

import fsspec

from augment.errors import InputError, UnreachableError
from augment.inputs.transient import may_pass
from augment.storage.client_errors import how_to_install, is_missing_package

# Bytes per request of a remote file that is read in order with gaps, such as a tar's headers: a request takes about as
# long as reading so many bytes.
_BLOCK_SIZE = 4 * 2**20


def is_url(path: str) -> bool:
    """Return whether a path is for fsspec to open. Call `plain` first: it makes a `file://` URL a local path."""
    return "://" in path


def plain(path: Path | str) -> str:
    """Return a path as text, without `file://`."""
    return str(path).removeprefix("file://")


def absolute(path: str) -> str:
    """Return the absolute form of a local path; URLs stay as they are, except that `file://` is removed."""
    path = plain(path)
    return path if is_url(path) else os.path.abspath(path)


@contextlib.contextmanager
def reaching(place: str) -> Iterator[None]:
    """Raise as InputError whatever the operating system or a store's library raises while `place` is accessed.

    What may pass is raised as UnreachableError.
    """
    try:
        yield
    except InputError:
        raise
    except FileNotFoundError as error:
        # Where a server cannot be reached, some of fsspec's file systems say only that there is no such file.
        cause = f" (or not reachable: {' '.join(str(error.__cause__).split())})" if error.__cause__ else ""
        raise _kind(error)(f"{place}: {os.strerror(errno.ENOENT)}{cause}") from error
    except OSError as error:
        raise _kind(error)(f"{place}: {' '.join(str(error.strerror or error).split())}") from error
    except Exception as error:
        if is_missing_package(error, place):
            raise InputError(f"{place}: {' '.join(str(error).split())}: {how_to_install(place)}") from error
        if not is_url(place):
            raise
        # Every store's library has errors of its own: credentials, endpoints, time-outs.
        raise _kind(error)(f"{place} cannot be read: {type(error).__name__}: {' '.join(str(error).split())}") from error


def _kind(error: Exception) -> type[InputError]:
    return UnreachableError if may_pass(error) else InputError


def filesystem(url: str) -> tuple[Any, str]:
    """Return the fsspec file system of a URL, and the path in it. Not cached: file systems do not survive a fork.

    Raises:
        InputError: if there is none, or if its package is not installed.
    """
    with reaching(url):
        fs, path = fsspec.core.url_to_fs(url)
    return fs, str(path)


def open_file(path: str, block_size: int = _BLOCK_SIZE) -> BinaryIO:
    """Open a file to read, seekable. Raises InputError if it cannot be opened.

    Args:
        path: local, or a URL.
        block_size: bytes per request of a remote file, and about what it holds in memory.
    """
    with reaching(path):
        if not is_url(path):
            return _open_local(path)
        fs, inside = filesystem(path)
        return cast(BinaryIO, fs.open(inside, "rb", block_size=block_size))


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def _open_local(path: str) -> BinaryIO:
    """Open a file; not a device or a pipe, which might never end, nor wait for somebody to write into it."""
    file = open(path, "rb", opener=_without_waiting)  # noqa: SIM115 - the caller closes it
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise InputError(f"{path} is a device or a pipe, not a file")
    return file


def read_file(path: str) -> bytes:
    """Return the content of a file. Raises InputError if it cannot be read."""
    with reaching(path):
        if not is_url(path):
            with _open_local(path) as file:
                return file.read()
        fs, inside = filesystem(path)
        return bytes(fs.cat_file(inside))


def read_range(path: str, start: int, size: int) -> bytes:
    """Return `size` bytes of a file from `start` on. Raises InputError if it cannot be read, or has fewer."""
    with reaching(path):
        if not is_url(path):
            with open(path, "rb") as file:
                file.seek(start)
                data = file.read(size)
        elif size == 0:  # a range that HTTP cannot express
            data = b""
        else:
            fs, inside = filesystem(path)
            data = bytes(fs.cat_file(inside, start=start, end=start + size))
    if len(data) != size:  # also from a server that ignores ranges
        raise InputError(f"{path}: {len(data)} bytes came instead of the {size} from {start} on")
    return data


def version_of(path: str) -> str:
    """Return a text that differs once a file has changed. Raises InputError if there is no such file."""
    with reaching(path):
        if not is_url(path):
            status = os.stat(path)
            return f"{status.st_mtime_ns} {status.st_size}"
        fs, inside = filesystem(path)
        fs.invalidate_cache()
        return str(fs.ukey(inside))


def file_size(path: str) -> int:
    """Return the bytes of a local file; 0 if there is none: what is wrong with it is reported when it is read."""
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


def join(folder: str, name: str) -> str:
    """Return a path or URL below a folder."""
    return f"{folder}/{name}" if is_url(folder) else os.path.join(folder, name)


def below(root: str, path: str) -> str:
    """Return a path of an fsspec file system relative to one of its folders; "" for the folder itself."""
    return path[len(root.rstrip("/")) :].strip("/")


def relative_names(paths: Sequence[str]) -> list[str]:
    """Return the paths, local ones or URLs, relative to the deepest folder that all of them are in."""
    parts = [(path if is_url(path) else os.path.abspath(path)).split("/") for path in paths]
    folders = zip(*(p[:-1] for p in parts), strict=False)  # as deep as the least deep of them
    common = sum(1 for _ in itertools.takewhile(lambda names: len(set(names)) == 1, folders))
    return ["/".join(p[common:]) for p in parts]


def missing(path: str) -> str:
    """Return a message that a local path does not exist, with the nearest folder above it that does."""
    parent = Path(path).parent
    while not parent.exists():
        parent = parent.parent
    return f"{path} does not exist (the nearest folder that does is {parent.resolve()})"
