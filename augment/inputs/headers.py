"""The sizes of pictures, read from the beginning of their files: nothing is decoded."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, cast

from PIL import Image
from PIL.ContainerIO import ContainerIO

from augment.inputs.fit import Size
from augment.inputs.formats import HEAD_BYTES, image_format
from augment.inputs.images import silence_pillow, upright_size
from augment.inputs.locate import open_file
from augment.inputs.readers import read_bytes
from augment.types import Source

_BLOCK_SIZE = 64 * 2**10  # bytes per request of a remote file; nearly all headers are shorter


def picture_size(source: Source) -> Size | None:
    """Return a picture's width and height, turned upright; None for what is no readable picture.

    The orientation of a PNG file that gives it only behind its pixels is not seen.
    """
    silence_pillow()
    try:
        with _opened(source) as file:
            size = _size_in(file, file.read(HEAD_BYTES))
        if size is None:  # a format that only the whole file tells
            data = read_bytes(source)
            size = _size_in(io.BytesIO(data), data)
        return size
    except Exception:  # of a damaged file Pillow raises one of a dozen types; whatever it is, a run has a row for it
        return None


def size_of_file(data: bytes) -> Size | None:
    """Return width and height, turned upright, of a picture given by its file's content; None if it is not readable."""
    silence_pillow()
    try:
        return _size_in(io.BytesIO(data), data)
    except Exception:  # as above
        return None


@contextmanager
def _opened(source: Source) -> Iterator[IO[bytes]]:
    tar, inside, member = source.locator.partition(".tar::")
    with open_file(f"{tar}.tar" if inside else tar, _BLOCK_SIZE) as file:
        start = int(member.rpartition("@")[2]) if inside else 0
        yield cast(IO[bytes], ContainerIO(file, start, source.size)) if inside else file


def _size_in(file: IO[bytes], known: bytes) -> Size | None:
    """Return the size in an open file; None if what is known of it is no image's."""
    kind = image_format(known)
    if kind is None:
        return None
    file.seek(0)
    with Image.open(file, formats=[kind]) as picture:
        return upright_size(picture)
