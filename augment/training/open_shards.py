"""Shards that are being read, each in several places at once, and each from a place that moves from epoch to epoch.

An epoch is a number of samples, and mostly fewer than the shards have. Were each shard read from its first byte on, no
epoch would ever come to the samples at its end; and one that is sorted inside would give one class after the other.
So a shard is cut into parts of equal length, from a place of its own to its end and on from its beginning, and the
parts are read at the same time.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing
from itertools import islice
from tarfile import BLOCKSIZE
from typing import Any, BinaryIO, cast

from webdataset.tariterators import group_by_keys

from augment.errors import InputError
from augment.inputs.formats import IMAGE_EXTENSIONS, is_hidden
from augment.inputs.locate import is_url, open_file, reaching
from augment.inputs.shard_listing import image_extensions
from augment.training.shard_start import after_first_sample, whole_file_behind

MOST_PARTS = 8  # of a shard, as each is a file that is open
LEAST_BYTES = 4 * 2**20  # of a part: to find its beginning two samples are read that are of another part
_READ_PAST_END = 8  # a part reads ahead by so much of its length at the most: what is behind it another part reads
_LOOK = 2**16  # bytes of a remote shard that are read to see what its samples are
_FILES_OF_SAMPLE = 16  # looked at

Files = dict[str, Any]  # of a sample, by extension, with `__key__`; or one file, as webdataset has it
_AT = "__url__"  # where a file, or the first of a sample, begins; where webdataset has the address of the shard
_META = re.compile(r"__[^/]*__($|/)")  # names that webdataset passes over


class Part:
    """A part of a shard, which is read to its end once.

    Attributes:
        path: of the shard.
        first: where the first sample begins; None if the shard has none.
        until: where the first sample begins that is another part's.
        length: of the part, in bytes.
    """

    def __init__(self, path: str, stream: BinaryIO, place: int, length: int) -> None:
        self.path, self._stream = path, stream
        self._read = 0  # bytes of files; where the stream stands says less, as it is read in larger blocks
        self._files = self._files_from(place)
        try:
            self._next = next(self._files, None)
        except BaseException:
            self.close()
            raise
        self.first: int | None = self._next[_AT] if self._next else None
        self.until, self.length = self.first, length

    @property
    def left(self) -> int:
        """Return the bytes not yet read, at least 1."""
        return max(1, self.length - self._read)

    def samples(self) -> Iterator[Files]:
        """Yield the files of each sample."""
        while (sample := self._next) is not None:
            self._next = next(self._files, None)
            if self._next is not None and self._next[_AT] == self.until:
                self._next = None
            yield sample

    def close(self) -> None:
        """Close the file."""
        self._stream.close()

    def _files_from(self, place: int) -> Iterator[Files]:
        """Yield the samples of the whole shard, from a place on and round."""
        with reaching(self.path):
            start = whole_file_behind(self._stream, place)
            self._stream.seek(start)
        if start:
            behind = after_first_sample(files_of(self._stream, start))
            yield from grouped(self.path, self._counted(behind))
            self._stream.seek(0)
        yield from grouped(self.path, self._counted(files_of(self._stream)))

    def _counted(self, files: Iterable[Files]) -> Iterator[Files]:
        for file in files:
            self._read += BLOCKSIZE + -(-len(file["data"]) // BLOCKSIZE) * BLOCKSIZE
            yield file


def open_parts(path: str, start: float, most: int, read_ahead: int) -> list[Part]:
    """Open a shard in some places; each sample is one part's.

    Args:
        start: share of the bytes behind which the first part begins.
        most: parts, at most; of a small shard there are fewer.
        read_ahead: bytes of each, if the shard is remote.

    Raises:
        InputError: if the shard cannot be read.
    """
    found: list[Part] = []
    with ExitStack() as opened:
        looked_at = opened.enter_context(closing(open_file(path, _LOOK)))
        with reaching(path):
            size = looked_at.seek(0, 2)
            enterable = _can_be_entered(looked_at)
        local = not is_url(path)
        if not local:
            looked_at.close()  # it reads ahead less
        count = max(1, min(most, size // LEAST_BYTES)) if enterable else 1
        length = size // count
        read_ahead = min(read_ahead, max(_LOOK, length // _READ_PAST_END)) if count > 1 else read_ahead
        for i in range(count):
            place = int(size * ((start + i / count) % 1.0)) if enterable else 0
            stream = looked_at if local and i == 0 else open_file(path, read_ahead)
            part = opened.enter_context(closing(Part(path, stream, place, length)))
            if part.first is None or part.first in {other.first for other in found}:
                part.close()  # two began before the same sample
            else:
                found.append(part)
        opened.pop_all()  # whoever reads them closes them
    for part, following in zip(found, found[1:] + found[:1], strict=True):
        part.until = following.first
    return found


def _can_be_entered(stream: BinaryIO) -> bool:
    """Return whether a shard can be read from anywhere: a tar whose samples hold no tars, with headers of their own."""
    stream.seek(0)
    try:
        with tarfile.open(fileobj=stream, mode="r:") as tar:
            infos = list(islice(tar, _FILES_OF_SAMPLE))
    except tarfile.TarError:
        return False  # compressed, perhaps
    return bool(infos) and not any(info.name.lower().endswith(".tar") for info in infos)


def files_of(stream: BinaryIO, start: int = 0) -> Iterator[Files]:
    """Yield the files of a tar from where it stands, as webdataset does, and with each where it begins.

    Args:
        stream: a tar, perhaps a compressed one.
        start: where it stands, in bytes.
    """
    with tarfile.open(fileobj=stream, mode="r|*") as tar:
        for info in tar:
            if info.isreg() and not _META.match(info.name) and not _is_passed_over(info.name):
                data = cast(BinaryIO, tar.extractfile(info)).read()
                yield {"fname": info.name, "data": data, _AT: start + info.offset}
            tar.members = []  # type: ignore[attr-defined]  # which it would remember


def grouped(shard: str, files: Iterable[Files]) -> Iterator[Files]:
    """Yield the files of each sample. Raises InputError if the shard cannot be read."""
    with reaching(shard):
        try:
            for sample in group_by_keys(files):
                # What is neither is no sample but a README, say; see `augment.inputs.shard_listing`.
                if "cls" in sample or image_extensions(sample.keys() & set(IMAGE_EXTENSIONS)):
                    yield sample
        except tarfile.TarError as error:
            raise InputError(f"{shard}: not a readable tar: {error}") from error
        except ValueError as error:  # webdataset has no class for it
            if "duplicate file name" not in str(error):
                raise
            raise InputError(f"{shard}: a file is there twice: {' '.join(map(str, error.args[:4]))}") from error


def _is_passed_over(name: str) -> bool:
    """Return whether a file of a tar is none of the dataset's, as when it is listed: hidden, such as `._0001.png`."""
    return any(is_hidden(part) for part in name.split("/") if part not in (".", ".."))
