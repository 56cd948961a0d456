"""Where in a shard reading begins: at any byte of a tar, the first sample that is whole from there on.

A tar can be entered anywhere. Headers begin at multiples of 512 bytes and have a checksum, so one is found. The file
behind it may lack its long name, which stands in a header of its own before it; the next file is whole, and its sample
may lack files; the next sample lacks nothing.
"""

from __future__ import annotations

import random
import tarfile
from collections.abc import Iterable, Iterator
from tarfile import BLOCKSIZE
from typing import Any, BinaryIO

from webdataset.tariterators import base_plus_ext

from augment.seeding import seed_for

# The fractional parts of the multiples of this number leave no large gaps: after any number of them, neighbours have
# one of three distances (Steinhaus' three-gap theorem). So epochs reach all parts of a shard equally often.
_GOLDEN = (5**0.5 - 1) / 2
_CHUNK = 128 * BLOCKSIZE  # bytes read at once
_LONGEST_SEARCH = 64 * 2**20  # bytes in which there is a header, unless it is another kind of file
_MAGIC, _MAGIC_AT = b"ustar", 257


def start_fraction(seed: int, shard: int, turn: int) -> float:
    """Return where in a shard to begin, as a share of its bytes, 0 to 1.

    Args:
        seed, shard: determine the place of the shard with that number at first.
        turn: how often the shards have been begun.
    """
    return (random.Random(seed_for(seed, "start", shard)).random() + turn * _GOLDEN) % 1.0


def whole_file_behind(stream: BinaryIO, place: int) -> int:
    """Return where the first file of a tar begins of which a place tells that it is whole; 0 if there is none.

    Args:
        stream: a tar.
        place: in bytes.
    """
    at = _first_header(stream, place) if place >= BLOCKSIZE else None
    while at is not None:
        header = _header_at(stream, at)
        if header is None:
            return 0
        at += BLOCKSIZE + -(-header.size // BLOCKSIZE) * BLOCKSIZE
        if header.type in tarfile.REGULAR_TYPES:
            return at if _header_at(stream, at) else 0
    return 0


def after_first_sample(files: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Leave out the files of the first sample, as webdataset groups them: some may lie before."""
    first, passed = None, False
    for file in files:
        key = base_plus_ext(file["fname"])[0]
        first = first or key
        passed = passed or key not in (None, first)
        if passed:
            yield file


def _first_header(stream: BinaryIO, place: int) -> int | None:
    place -= place % BLOCKSIZE
    stream.seek(place)
    for chunk_at in range(place, place + _LONGEST_SEARCH, _CHUNK):
        chunk = stream.read(_CHUNK)
        at = -1
        while (at := chunk.find(_MAGIC, at + 1)) >= 0:
            header = at - _MAGIC_AT
            if header >= 0 and header % BLOCKSIZE == 0 and _parsed(chunk[header : header + BLOCKSIZE]):
                return chunk_at + header
        if len(chunk) < _CHUNK:
            break
    return None


def _header_at(stream: BinaryIO, place: int) -> tarfile.TarInfo | None:
    stream.seek(place)
    return _parsed(stream.read(BLOCKSIZE))


def _parsed(block: bytes) -> tarfile.TarInfo | None:
    try:
        return tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return None
