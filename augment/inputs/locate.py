"""Paths and URLs as people write them, turned into files that exist; their bytes; and messages where they do not.

A URL is anything with `://`; whatever fsspec has a file system for will do. `file://` is the local path in it. Names of
hidden files and folders, which begin with a dot, are never listed.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import itertools
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, cast

import fsspec
from braceexpand import braceexpand

from augment.errors import InputError
from augment.inputs.images import IMAGE_EXTENSIONS

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
    """Raise as InputError whatever the operating system or a store's library raises while `place` is accessed."""
    try:
        yield
    except InputError:
        raise
    except ImportError as error:
        s3 = place.startswith(("s3://", "s3a://"))
        remedy = "pip install 'rnri-augment[s3]'" if s3 else "install the package it names"
        raise InputError(f"{place}: {' '.join(str(error).split())}: {remedy}") from error
    except FileNotFoundError as error:
        # Where a server cannot be reached, some of fsspec's file systems say only that there is no such file.
        cause = f" (or not reachable: {' '.join(str(error.__cause__).split())})" if error.__cause__ else ""
        raise InputError(f"{place}: {os.strerror(errno.ENOENT)}{cause}") from error
    except OSError as error:
        raise InputError(f"{place}: {' '.join(str(error.strerror or error).split())}") from error
    except Exception as error:
        if not is_url(place):
            raise
        # Every store's library has errors of its own: credentials, endpoints, time-outs.
        raise InputError(f"{place} cannot be read: {type(error).__name__}: {' '.join(str(error).split())}") from error


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
            return open(path, "rb")
        fs, inside = filesystem(path)
        return cast(BinaryIO, fs.open(inside, "rb", block_size=block_size))


def read_file(path: str) -> bytes:
    """Return the content of a file. Raises InputError if it cannot be read."""
    with reaching(path):
        if not is_url(path):
            return Path(path).read_bytes()
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


def list_folder(folder: str) -> dict[str, bool]:
    """Return the names directly in a folder -> whether each is a folder. Raises InputError if there is none such."""
    if not is_url(folder):
        if not os.path.isdir(folder):
            raise InputError(
                f"{folder} is a file, not a folder of images" if os.path.exists(folder) else missing(folder)
            )
        with reaching(folder), os.scandir(folder) as entries:
            return {entry.name: _is_folder(entry) for entry in entries if not entry.name.startswith(".")}
    fs, inside = filesystem(folder)
    with reaching(folder):
        fs.invalidate_cache()
        found = fs.ls(inside, detail=True)
    names = {_below(inside, info["name"]): info["type"] == "directory" for info in found}
    return {name: is_folder for name, is_folder in names.items() if name and not name.startswith(".")}


def files_below(folder: str) -> Iterator[tuple[str, int]]:
    """Yield name relative to the folder, with slashes, and bytes of every file in it at any depth; in no order."""
    if not is_url(folder):
        yield from _walk(folder, "")
        return
    fs, inside = filesystem(folder)
    with reaching(folder):
        fs.invalidate_cache()
        found = fs.find(inside, detail=True)
    for path, info in found.items():
        name = _below(inside, path)
        if info["type"] == "file" and name and not name.startswith(".") and "/." not in name:
            yield name, int(info.get("size") or 0)


def _walk(folder: str, prefix: str) -> Iterator[tuple[str, int]]:
    with reaching(folder), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if not _is_folder(entry):
                yield prefix + entry.name, file_size(entry.path)
            elif not entry.is_symlink():  # which might lead back up
                yield from _walk(entry.path, f"{prefix}{entry.name}/")


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself is found out when it is read, like one that leads nowhere
        return False


def file_size(path: str) -> int:
    """Return the bytes of a local file; 0 if there is none: what is wrong with it is reported when it is read."""
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


def join(folder: str, name: str) -> str:
    """Return a path or URL below a folder."""
    return f"{folder}/{name}" if is_url(folder) else os.path.join(folder, name)


def relative_names(paths: Sequence[str]) -> list[str]:
    """Return the paths, local ones or URLs, relative to the deepest folder that all of them are in."""
    parts = [(path if is_url(path) else os.path.abspath(path)).split("/") for path in paths]
    folders = zip(*(p[:-1] for p in parts), strict=False)  # as deep as the least deep of them
    common = sum(1 for _ in itertools.takewhile(lambda names: len(set(names)) == 1, folders))
    return ["/".join(p[common:]) for p in parts]


def expand_shards(path: Path | str | Sequence[str]) -> list[str]:
    """Return the tars that a tar, a folder, a pattern or a list of these stands for; see `expand_files`."""
    return expand_files(path, (".tar",), "shards")


def expand_files(path: Path | str | Sequence[str], extensions: tuple[str, ...], what: str) -> list[str]:
    """Return the files that a file, a folder, a pattern (`*`, `{000..009}`) or a list of these stands for, sorted.

    A URL that ends in one of the extensions and has no `*` is taken to exist: asking for each of many takes long.
    In URLs `*` is the only wildcard, because `?` and `[` may be part of one.

    Args:
        extensions: extensions, with their dots, of the files wanted in a folder or by a pattern.
        what: what the files are called in messages.

    Raises:
        InputError: if something named does not exist, or if nothing is found.
    """
    found: set[str] = set()
    for pattern in [path] if isinstance(path, Path | str) else list(path):
        for one in _expand_braces(plain(pattern)):
            found.update((_expand_url if is_url(one) else _expand_local)(one, extensions))
    if not found:
        raise InputError(f"no file given: the list of {what} is empty")
    return sorted(found)


def _expand_local(path: str, extensions: tuple[str, ...]) -> list[str]:
    if os.path.isdir(path):
        return _directly_in(path, extensions)
    if os.path.exists(path):
        return [path]
    if matches := [match for match in glob.glob(path) if match.endswith(extensions)]:
        return matches
    raise InputError(missing(path))


def _expand_url(url: str, extensions: tuple[str, ...]) -> list[str]:
    if "*" in url:
        folder = url.partition("*")[0].rpartition("/")[0]
        if folder.endswith("/"):
            raise InputError(f"{url}: the first name after :// must be written out")
        (fs, pattern), (_, root) = filesystem(url), filesystem(folder)
        with reaching(url):
            fs.invalidate_cache()
            names = [_below(root, path) for path in fs.glob(pattern) if path.endswith(extensions)]
        matches = [join(folder, name) for name in names if not name.startswith(".") and "/." not in name]
        if not matches:
            raise InputError(f"{url}: nothing there has such a name")
        return matches
    return [url] if url.endswith(extensions) else _directly_in(url, extensions)


def _directly_in(folder: str, extensions: tuple[str, ...]) -> list[str]:
    names = [name for name, is_folder in list_folder(folder).items() if not is_folder and name.endswith(extensions)]
    if not names:
        raise InputError(f"no {' or '.join(extensions)} file in the folder {folder}: {what_is_in(folder)}")
    return [join(folder.rstrip("/"), name) for name in names]


def _below(root: str, path: str) -> str:
    """Return a path of an fsspec file system relative to one of its folders; "" for the folder itself."""
    return path[len(root.rstrip("/")) :].strip("/")


def _expand_braces(pattern: str) -> Iterator[str]:
    try:
        yield from braceexpand(pattern)
    except ValueError as error:
        raise InputError(f"{pattern}: {error}; a set of shards is written like train-{{000..009}}.tar") from error


def is_image(name: str) -> bool:
    """Return whether a file counts as an image, by its name."""
    return name.rpartition(".")[2].lower() in IMAGE_EXTENSIONS


def missing(path: str) -> str:
    """Return a message that a local path does not exist, with the nearest folder above it that does."""
    parent = Path(path).parent
    while not parent.exists():
        parent = parent.parent
    return f"{path} does not exist (the nearest folder that does is {parent.resolve()})"


def what_is_in(folder: str) -> str:
    """Return a message that says what a folder holds instead of what was looked for, and what to do next."""
    kinds = Counter(os.path.splitext(name)[1].lower() or "no extension" for name, _ in files_below(folder))
    if not kinds:
        return "it holds no file at all"
    found = "it holds " + ", ".join(f"{count} file(s) with {kind}" for kind, count in kinds.most_common(3))
    if ".tar" in kinds:
        return f"{found}; for tars set the format to 'webdataset'"
    if any(kind.removeprefix(".") in IMAGE_EXTENSIONS for kind in kinds):
        return f"{found}; for one folder of images per class set the format to 'imagefolder'"
    return f"{found}; images are read with the extensions {', '.join(IMAGE_EXTENSIONS)}"
