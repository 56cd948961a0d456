"""Shards that are being read, each in several places at once, and each from a place that moves from epoch to epoch.

An epoch is a number of samples, and mostly fewer than the shards have. Were each shard read from its first byte on, no
epoch would ever come to the samples at its end; and one that is sorted inside would give one class after the other.
So a shard is cut into parts of equal length, from a place of its own to its end and on from its beginning, and the
parts are read at the same time.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing
from tarfile import BLOCKSIZE
from typing import Any, BinaryIO

from webdataset.tariterators import group_by_keys, tar_file_expander

from augment.errors import InputError
from augment.inputs.formats import IMAGE_EXTENSIONS, is_hidden
from augment.inputs.locate import open_file, reaching
from augment.inputs.shard_listing import image_extensions
from augment.training.shard_start import after_first_sample, whole_file_behind

MOST_PARTS = 8  # of a shard, as each is a file that is open
LEAST_BYTES = 4 * 2**20  # of a part: to find its beginning two samples are read that are of another part

Files = dict[str, Any]  # of a sample, by extension, with `__key__`; or one file, as webdataset has it


class Part:
    """A part of a shard, which is read to its end once.

    Attributes:
        path: of the shard.
        first: key of the first sample; None if the shard has none.
        until: key of the first sample that is another part's.
        length: of the part, in bytes.
    """

    def __init__(self, path: str, place: int, length: int, read_ahead: int) -> None:
        self.path, self._stream = path, open_file(path, read_ahead)
        self._read = 0  # bytes of files; where the stream stands says less, as it is read in larger blocks
        self._files = self._files_from(place)
        try:
            self._next = next(self._files, None)
        except BaseException:
            self.close()
            raise
        self.first: str | None = self._next["__key__"] if self._next else None
        self.until, self.length = self.first, length

    @property
    def left(self) -> int:
        """Return the bytes not yet read, at least 1."""
        return max(1, self.length - self._read)

    def samples(self) -> Iterator[Files]:
        """Yield the files of each sample."""
        while (sample := self._next) is not None:
            self._next = next(self._files, None)
            if self._next is not None and self._next["__key__"] == self.until:
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
            yield from grouped(self.path, self._counted(after_first_sample(files_of(self.path, self._stream))))
            self._stream.seek(0)
        yield from grouped(self.path, self._counted(files_of(self.path, self._stream)))

    def _counted(self, files: Iterable[Files]) -> Iterator[Files]:
        for file in files:
            self._read += BLOCKSIZE + -(-len(file.get("data", b"")) // BLOCKSIZE) * BLOCKSIZE
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
    with open_file(path, BLOCKSIZE) as stream, reaching(path):
        size = stream.seek(0, 2)
    count = max(1, min(most, size // LEAST_BYTES))
    places = [int(size * ((start + i / count) % 1.0)) for i in range(count)]
    found: list[Part] = []
    with ExitStack() as opened:
        for place in places:
            part = opened.enter_context(closing(Part(path, place, size // count, read_ahead)))
            if part.first is None or part.first in {other.first for other in found}:
                part.close()  # two began before the same sample
            else:
                found.append(part)
        opened.pop_all()  # whoever reads them closes them
    for part, following in zip(found, found[1:] + found[:1], strict=True):
        part.until = following.first
    return found


def files_of(shard: str, stream: BinaryIO) -> Iterator[Files]:
    """Return the files of a tar from where it stands, as webdataset has them."""
    found: Iterator[Files] = tar_file_expander([{"url": shard, "stream": stream}])
    return found


def grouped(shard: str, files: Iterable[Files]) -> Iterator[Files]:
    """Yield the files of each sample. Raises InputError if the shard cannot be read."""
    with reaching(shard):
        try:
            for sample in group_by_keys(file for file in files if not _is_passed_over(file)):
                # What is neither is no sample but a README, say; see `augment.inputs.shard_listing`.
                if "cls" in sample or image_extensions(sample.keys() & set(IMAGE_EXTENSIONS)):
                    yield sample
        except tarfile.TarError as error:
            raise InputError(f"{shard}: not a readable tar: {error}") from error
        except ValueError as error:  # webdataset has no class for it
            if "duplicate file name" not in str(error):
                raise
            raise InputError(f"{shard}: a file is there twice: {' '.join(map(str, error.args[:4]))}") from error


def _is_passed_over(file: Files) -> bool:
    """Return whether a file of a tar is none of the dataset's, as when it is listed: hidden, such as `._0001.png`."""
    parts = str(file.get("fname", "")).split("/")
    return any(is_hidden(part) for part in parts if part not in (".", ".."))
