"""Tar files whose bytes depend on their samples only: no times, no owners, a fixed order of members.

A *sample* is a key and its files by extension, `("00/cat", {"png": ..., "cls": ...})`, stored as `00/cat.png`,
`00/cat.cls`. Readers split a member's name at the first dot of its last part, so a key with a dot would merge
samples: `write_tar` refuses it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import tarfile
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, Self

from augment.storage.tar_members import BLOCK, member_header, padding

KEY_PATTERN = re.compile(r"[A-Za-z0-9_/-]+")
EXTENSION_PATTERN = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*")
_BUFFER = 2**18  # bytes


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[BinaryIO]:
    """Yield an open file beside `path`, renamed to it if the block ends without an error, and deleted otherwise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.parent / f".{path.name}.{uuid.uuid4().hex}.tmp"
    try:
        with naming(path), beside.open("xb", buffering=_BUFFER) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Add the path to an operating system's error that names none, as for a disk that is full while a file is written.

    An error that names another file, such as one that is read meanwhile, keeps it.
    """
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno is not None:
            error.filename = str(path)
        raise


def sync_folder(folder: Path) -> None:
    """Flush the entries of a folder to disk, so that new names survive a power cut as the bytes of the files do."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_bytes_atomic(path: Path | str, data: bytes) -> None:
    """Write a file so that a reader sees the old content or the new one, never a part; its folder is created."""
    with _replacing(Path(path)) as file:
        file.write(data)


def write_tar(
    path: Path | str,
    samples: Iterable[tuple[str, Mapping[str, bytes]]],
    update: Callable[[bytes], object] = lambda data: None,
) -> int:
    """Write samples, in the order given, as one tar, atomically; its bytes depend on the samples only.

    Args:
        path: the tar; its folder is created. Nothing appears there before the last sample is written and synced.
        samples: pairs of key and files by extension (lower case, no leading dot). Consumed one at a time.
        update: called with all bytes of the tar in turn, such as the `update` of a hash.

    Returns:
        the number of samples written.

    Raises:
        ValueError: if a key or extension has a character that readers would misunderstand, if a key repeats, or if a
            sample has no files.
    """
    seen: set[str] = set()
    size = 0
    with _replacing(Path(path)) as file:

        def write(data: bytes) -> int:
            update(data)
            return file.write(data)

        for key, files in samples:
            if not KEY_PATTERN.fullmatch(key):
                raise ValueError(f"{path}: the key {key!r} has characters other than A-Z a-z 0-9 _ / -")
            if key in seen:
                raise ValueError(f"{path}: the key {key!r} occurs twice; its samples would be merged when read")
            if not files:
                raise ValueError(f"{path}: the sample {key!r} has no files")
            seen.add(key)
            for extension, data in sorted(files.items()):
                if not EXTENSION_PATTERN.fullmatch(extension):
                    raise ValueError(f"{path}: {extension!r} of {key!r} is no lower-case extension like 'png'")
                pieces = (member_header(f"{key}.{extension}", len(data)), data, padding(len(data)))
                size += sum(map(write, pieces))
        size += write(bytes(2 * BLOCK))  # the end-of-archive mark
        write(bytes(-size % tarfile.RECORDSIZE))
    return len(seen)


class StrictTarInfo(tarfile.TarInfo):
    """Makes `tarfile` raise ReadError for a tar without its end-of-archive mark.

    By itself `tarfile` reads a file that is cut off between two members, or continues with garbage, as one that ends
    there.
    """

    @classmethod
    def fromtarfile(cls, tar: tarfile.TarFile) -> Self:
        try:
            return super().fromtarfile(tar)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f"no end-of-archive mark: cut off or damaged ({error})") from None


def split_member_name(name: str) -> tuple[str, str] | None:
    """Return key and lower-case extension of a member, split at the first dot of the last part; None without a dot."""
    folder, slash, base = name.rpartition("/")
    stem, dot, extension = base.partition(".")
    return (f"{folder}{slash}{stem}", extension.lower()) if dot and stem and extension else None


def iter_tar(source: Path | str | BinaryIO) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Yield (key, files by extension) of each sample of a tar; consecutive members with one key are one sample.

    Args:
        source: a path, or an open binary file, which is read forwards only and not closed.

    Raises:
        tarfile.TarError, OSError: if the tar is not readable, or ends before its end-of-archive mark.
    """
    current, files = "", dict[str, bytes]()
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(open(source, "rb")) if isinstance(source, Path | str) else source
        tar = stack.enter_context(tarfile.open(fileobj=file, mode="r|*", tarinfo=StrictTarInfo))
        for member in tar:
            split = split_member_name(member.name) if member.isfile() else None
            if split is None:
                continue
            key, extension = split
            if files and key != current:
                yield current, files
                files = {}
            current = key
            content = tar.extractfile(member)
            assert content is not None  # only links and folders have no content
            files[extension] = content.read()
    if files:
        yield current, files


def sha256_file(path: Path | str) -> str:
    """Return the hexadecimal SHA-256 of a file's content, read in pieces."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
