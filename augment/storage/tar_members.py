"""Members of tars in the one layout that `augment.storage.tar` writes: GNU headers of regular files, nothing else.

`tarfile` reads and writes every kind of tar, and takes ten times as long for each member.
"""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

BLOCK = tarfile.BLOCKSIZE
_PIECE = 2**20  # bytes read at a time
_CHECKSUM = slice(148, 156)
_MODULUS = 65521  # of Adler-32
_LONGEST_NAME = 100  # bytes, in a header; a longer one has a member of its own before it


def _template() -> tuple[bytes, bytes, int]:
    """Return what stands before and behind the size in a header, and the sum of the bytes of both."""
    header = tarfile.TarInfo("").tobuf(tarfile.GNU_FORMAT)
    before, behind = header[_LONGEST_NAME:124], header[136:148] + b"%s" + header[156:]
    return before, behind, sum(before) + sum(behind) - sum(b"%s") + 8 * ord(" ")


_BEFORE, _BEHIND, _SUM = _template()


def member_header(name: str, size: int) -> bytes:
    """Return the header of a regular file as GNU tar writes it, without times, owners and rights but 0644.

    Args:
        name: of ASCII characters; a long one gives a header of several blocks.
        size: of the content in bytes.
    """
    encoded, length = name.encode("ascii"), b"%011o" % size
    if len(encoded) > _LONGEST_NAME or len(length) > 11:
        member = tarfile.TarInfo(name)
        member.size = size
        return member.tobuf(tarfile.GNU_FORMAT)
    total = _SUM + sum(encoded) + sum(length)
    return b"%s%s%s\0%s" % (encoded.ljust(_LONGEST_NAME, b"\0"), _BEFORE, length, _BEHIND % (b"%06o\0 " % total))


def padding(size: int) -> bytes:
    """Return the zeros between the content of a member and the next header."""
    return bytes(-size % BLOCK)


@dataclass(frozen=True, slots=True)
class Member:
    """A file in a tar.

    Attributes:
        name: with its folder.
        offset: of its content in the tar, in bytes.
        size: of its content in bytes.
    """

    name: str
    offset: int
    size: int


class MemberReader:
    """Reads a tar forwards, member by member, with a bounded part of it in memory.

    Args:
        file: open at the beginning of the tar.
        update: called with all bytes in turn, those behind the end of the archive included, once `next` has given None.
    """

    def __init__(self, file: BinaryIO, update: Callable[[bytes], object]) -> None:
        self._file, self._update = file, update
        self._buffer, self._start, self._place = (
            b"",
            0,
            0,
        )  # `_start`: of the buffer in the tar; `_place`: in the buffer
        self._unread = 0  # bytes of content and padding behind the last header

    def next(self) -> Member | None:
        """Return the next member; None behind the last one.

        Raises:
            tarfile.ReadError: if the tar is damaged, cut off, or holds anything but regular files.
        """
        self._skip(self._unread)
        name = None
        while True:
            header = self._take(BLOCK)
            if header is None or len(header) < BLOCK:
                raise tarfile.ReadError("no end-of-archive mark: cut off or damaged (no header)")
            if not header[0] and not any(header):
                self._drain()
                return None
            size, kind = _checked_size(header), header[156:157]
            if kind != tarfile.GNUTYPE_LONGNAME:
                break
            name = self._content(size).rstrip(b"\0")
            self._skip(-size % BLOCK)
        if kind not in tarfile.REGULAR_TYPES[:2] or header[345]:
            raise tarfile.ReadError(f"a member is no regular file with a GNU header, but of the type {kind!r}")
        if name is None:
            name = header[:_LONGEST_NAME].partition(b"\0")[0]
        self._unread = size + -size % BLOCK
        return Member(name.decode("utf-8", "surrogateescape"), self._start + self._place, size)

    def read(self, member: Member) -> bytes:
        """Return the content of the member that `next` has given last; once only.

        Raises:
            tarfile.ReadError: if the tar ends before.
        """
        data = self._content(member.size)
        self._unread -= member.size
        return data

    def _content(self, size: int) -> bytes:
        data = self._take(size)
        if data is None or len(data) < size:
            raise tarfile.ReadError("unexpected end of data")
        return data

    def _take(self, size: int) -> bytes | None:
        """Return the next bytes, fewer at the end of the file."""
        while len(self._buffer) - self._place < size:
            if not self._fill(size):
                break
        data = self._buffer[self._place : self._place + size]
        self._place += len(data)
        return data

    def _fill(self, size: int) -> bool:
        more = self._file.read(max(_PIECE, size - (len(self._buffer) - self._place)))
        self._update(more)
        self._start += self._place
        self._buffer, self._place = self._buffer[self._place :] + more, 0
        return bool(more)

    def _skip(self, size: int) -> None:
        while size > 0:
            here = min(size, len(self._buffer) - self._place)
            self._place, size = self._place + here, size - here
            if size and not self._fill(0):
                raise tarfile.ReadError("unexpected end of data")
        self._unread = 0

    def _drain(self) -> None:
        self._place = len(self._buffer)
        while self._fill(0):
            self._place = len(self._buffer)


def _checked_size(header: bytes) -> int:
    """Return the size in a header. Raises ReadError if it is not one, or its checksum is wrong."""
    field = header[_CHECKSUM]
    try:
        checksum, size = int(field.rstrip(b"\0 "), 8), _number(header[124:136])
    except ValueError:
        raise tarfile.ReadError("no end-of-archive mark: cut off or damaged (invalid header)") from None
    # The sum of the header's bytes, modulo a prime: Adler-32 begins with it and is forty times as fast as `sum`.
    total = (zlib.adler32(header) & 0xFFFF) - 1 - sum(field) + 8 * ord(" ")
    if (total - checksum) % _MODULUS:
        raise tarfile.ReadError("no end-of-archive mark: cut off or damaged (bad checksum)")
    return size


def _number(field: bytes) -> int:
    """Return a number of a header: octal digits, or of base 256 where these do not suffice."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    return int(field.rstrip(b"\0 "), 8)
