"""The files of a source, read by a worker that tries again what may pass: inputs do not answer for a while, too."""

from __future__ import annotations

import hashlib
import logging
import random
import time
from collections import defaultdict, deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from augment.errors import InputError, UnreachableError
from augment.inputs.locate import is_url
from augment.inputs.readers import read_bytes, read_mask
from augment.types import Source

logger = logging.getLogger(__name__)
PAUSES = (0.5, 1.0, 2.0, 4.0)  # seconds between two tries at a file; the clients of stores have their own beside it
_LONG = 30.0  # seconds, after which a file is not tried again: its client has waited for long enough
_ASKED = 3  # other files, before one that cannot be read is taken for the only one


class SourceFiles(NamedTuple):
    """The contents of a source's files, and their hashes; the mask is b"" and its hash "" for a source without one."""

    picture: bytes
    mask: bytes
    sha256: str
    mask_sha256: str

    @classmethod
    def read(cls, source: Source) -> SourceFiles:
        """Read them. Raises InputError if one is not there, or not readable; UnreachableError if that may pass."""
        picture, mask = read_bytes(source), read_mask(source)
        of_mask = hashlib.sha256(mask).hexdigest() if source.mask else ""
        return cls(picture, mask, hashlib.sha256(picture).hexdigest(), of_mask)


class SourceReader:
    """Reads sources, and tells a file that cannot be read from a store that is away. Several threads may use it.

    A file with an error that may pass is tried again after `PAUSES`. If it still cannot be read, others of its store
    are asked for: those read last, or else those of the unit. If one of them answers and the file still does not, the
    file alone is at fault, as on a disk with a bad sector; otherwise the store is away.
    """

    def __init__(self) -> None:
        self._good: dict[str, deque[Source]] = defaultdict(lambda: deque(maxlen=_ASKED))  # read last, by store
        self._expected: tuple[Source, ...] = ()

    def expect(self, sources: Sequence[Source]) -> None:
        """Take note of what will be read, to be asked for as long as nothing was."""
        self._expected = tuple(sources)

    def read(self, source: Source) -> SourceFiles:
        """Return the content of a source's files.

        Raises:
            UnreachableError: if the store is away.
            InputError: if the files are not there or not readable, whatever happens to others.
        """
        began = time.monotonic()
        for pause in PAUSES:
            try:
                return self._read(source)
            except UnreachableError as error:
                if time.monotonic() - began > _LONG:
                    break
                logger.warning("%s; it is read again", error)
            time.sleep(pause * random.uniform(0.5, 1.5))  # workers that failed together should not return together
        answers = self._another_answers(source)
        try:
            return self._read(source)  # once more, should the store be back only now
        except UnreachableError as error:
            if answers:
                raise InputError(str(error)) from error
            raise

    def _read(self, source: Source) -> SourceFiles:
        files = SourceFiles.read(source)
        self._good[_store_of(source)].append(source)
        return files

    def _another_answers(self, source: Source) -> bool:
        store = _store_of(source)
        others = list(self._good[store]) or [s for s in self._expected if _store_of(s) == store]
        others = [other for other in others if other.locator != source.locator]
        asked = random.sample(others, min(_ASKED, len(others)))
        with ThreadPoolExecutor(_ASKED) as pool:  # at once: a client may take minutes to give up
            return any(pool.map(_answers, asked))


def _answers(source: Source) -> bool:
    try:
        SourceFiles.read(source)
    except UnreachableError:
        return False
    except InputError:
        pass  # that there is no such file is an answer
    return True


def _store_of(source: Source) -> str:
    """Return what is away as a whole: a folder where disks are mounted, all of the web, or one bucket."""
    if not is_url(source.locator):
        return "/".join(source.locator.split("/")[:3])
    scheme, _, rest = source.locator.partition("://")
    return "web" if scheme in ("http", "https") else f"{scheme}://{rest.partition('/')[0]}"
