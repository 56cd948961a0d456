"""The sizes of pictures, read from the beginning of their files: nothing is decoded."""

from __future__ import annotations

from typing import IO, cast

from PIL import Image
from PIL.ContainerIO import ContainerIO

from augment.errors import InputError
from augment.inputs.fit import Size
from augment.inputs.images import FORMATS, silence_pillow, upright_size
from augment.inputs.locate import open_file
from augment.types import Source

_BLOCK_SIZE = 64 * 2**10  # bytes per request of a remote file; nearly all headers are shorter


def picture_size(source: Source) -> Size | None:
    """Return a picture's width and height, turned upright; None for what is no readable picture.

    The orientation of a PNG file that gives it only behind its pixels is not seen.
    """
    tar, inside, member = source.locator.partition(".tar::")
    silence_pillow()
    try:
        with open_file(f"{tar}.tar" if inside else tar, _BLOCK_SIZE) as file:
            start = int(member.rpartition("@")[2]) if inside else 0
            part = cast(IO[bytes], ContainerIO(file, start, source.size)) if inside else file
            with Image.open(part, formats=FORMATS) as picture:
                return upright_size(picture)
    except InputError:
        return None
    except Exception:  # damaged files make Pillow raise a dozen different types; a run has a row for each
        return None
