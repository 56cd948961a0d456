"""The samples of WebDataset shards in a random order, pass after pass, with a bounded number of them in memory.

A stream has several shards open at once and draws each sample from one of them, with a probability in proportion to the
bytes that are left in it, so that large and small shards end together. What is drawn goes through a shuffle buffer. So
shards that hold one class each, as many tools write them, give batches of all classes.
"""

from __future__ import annotations

import itertools
import random
import tarfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, BinaryIO

import webdataset as wds
from webdataset.tariterators import group_by_keys, tar_file_expander

from augment.errors import InputError
from augment.inputs.formats import IMAGE_EXTENSIONS, is_hidden
from augment.inputs.locate import is_url, open_file, reaching
from augment.inputs.shard_listing import image_extensions, parse_label
from augment.seeding import seed_for

SHUFFLE_BUFFER = 1000  # encoded images held by a stream per source
_READ_AHEAD = 128 * 2**20  # bytes that all open remote shards of a stream hold together, per source
_MOST_READ_AHEAD = 4 * 2**20  # of one shard
_OPENED_AT_ONCE = 8  # remote shards opened at the same time: each mostly waits for the network


@dataclass(frozen=True, slots=True)
class Sample:
    """One encoded image with its label.

    Attributes:
        shard, key: where it is.
        extension: of the image: `png`, say.
        image: the bytes of the image's file.
        label: class index.
        texts: the bytes of `txt` and `json`, by extension, where the sample has them; they are never decoded here.
    """

    shard: str
    key: str
    extension: str
    image: bytes
    label: int
    texts: dict[str, bytes]

    @property
    def where(self) -> str:
        """Return the place of the sample, for messages."""
        return _place(self.shard, self.key)


@dataclass(frozen=True)
class Stream:
    """One of the readers that share the shards.

    Attributes:
        index, count: which of how many.
        open_shards: shards open at once.
        seed: of everything random.
    """

    index: int
    count: int
    open_shards: int
    seed: int


def samples(shards: Sequence[str], stream: Stream) -> Iterator[Sample]:
    """Yield a stream's share of pass after pass, without end.

    In one pass all streams together read every sample once: whole shards where there are at least as many as streams,
    otherwise every n-th sample of each shard.

    Raises:
        InputError: if a shard cannot be read, or no shard has a sample.
    """
    empty_passes = 0  # in a row
    for pass_number in itertools.count():
        order = list(shards)
        random.Random(seed_for(stream.seed, "shards", pass_number)).shuffle(order)
        if len(shards) >= stream.count:
            # Numbered through all passes, so that the odd shards go to another stream each time.
            first = pass_number * len(shards)
            order = [shard for i, shard in enumerate(order, first) if i % stream.count == stream.index]
            share, shares = 0, 1
        else:
            share, shares = (stream.index + pass_number) % stream.count, stream.count
        empty_passes += 1
        rng = random.Random(seed_for(stream.seed, "samples", pass_number, stream.index))
        found = _interleaved(order, stream.open_shards, rng, share, shares)
        # `initial`: no sample leaves before the buffer is full, so that small datasets are shuffled whole.
        for sample in wds.shuffle(SHUFFLE_BUFFER, initial=SHUFFLE_BUFFER, rng=rng)(found):
            empty_passes = 0
            yield sample
        # One empty pass may be chance: with few samples this stream's share of a pass can be none of them.
        if empty_passes > stream.count:
            raise InputError(f"no sample in {len(shards)} shard(s), the first is {shards[0]}")


def read_shard(shard: str) -> Iterator[Sample]:
    """Yield the samples of one shard in its order. Raises InputError if it cannot be read."""
    with reaching(shard), open_file(shard, _MOST_READ_AHEAD) as stream:
        yield from _samples_in(shard, stream)


def _interleaved(
    order: Sequence[str], open_shards: int, rng: random.Random, share: int, shares: int
) -> Iterator[Sample]:
    """Yield the samples number `share`, `share + shares`, ... of each shard, from several shards by turns at random."""
    waiting = iter(order)
    read_ahead = min(_MOST_READ_AHEAD, _READ_AHEAD // min(open_shards, max(1, len(order))))
    opened: list[_OpenShard] = []
    try:
        while True:
            opened += _open(list(itertools.islice(waiting, open_shards - len(opened))), read_ahead, share, shares)
            if not opened:
                return
            (shard,) = rng.choices(opened, weights=[shard.left for shard in opened])
            sample = shard.read()
            if sample is not None:
                yield sample
            else:
                opened.remove(shard)
                shard.close()
    finally:
        for shard in opened:
            shard.close()


class _OpenShard:
    """A shard that is being read.

    Attributes:
        left: bytes not yet read, at least 1.
    """

    def __init__(self, path: str, read_ahead: int, share: int, shares: int) -> None:
        self._stream = open_file(path, read_ahead)
        with reaching(path):
            self._size = self._stream.seek(0, 2)
            self._stream.seek(0)
        self.left = max(1, self._size)
        self._samples = itertools.islice(_samples_in(path, self._stream), share, None, shares)

    def read(self) -> Sample | None:
        """Return the next sample; None if there is none left."""
        sample = next(self._samples, None)
        self.left = max(1, self._size - self._stream.tell())
        return sample

    def close(self) -> None:
        """Close the file."""
        self._stream.close()


def _open(paths: Sequence[str], read_ahead: int, share: int, shares: int) -> list[_OpenShard]:
    """Open some shards, remote ones at the same time."""
    if len(paths) > 1 and any(map(is_url, paths)):
        with ThreadPoolExecutor(_OPENED_AT_ONCE) as pool:
            return list(pool.map(lambda path: _OpenShard(path, read_ahead, share, shares), paths))
    return [_OpenShard(path, read_ahead, share, shares) for path in paths]


def _samples_in(shard: str, stream: BinaryIO) -> Iterator[Sample]:
    """Yield the samples of an open shard."""
    with reaching(shard):
        try:
            members = tar_file_expander([{"url": shard, "stream": stream}])
            for files in group_by_keys(member for member in members if not _is_passed_over(member)):
                # What is neither is no sample but a README, say; see `augment.inputs.shard_listing`.
                if "cls" in files or image_extensions(files.keys() & set(IMAGE_EXTENSIONS)):
                    yield _sample(shard, files["__key__"], files)
        except tarfile.TarError as error:
            raise InputError(f"{shard}: not a readable tar: {error}") from error
        except ValueError as error:  # webdataset has no class for it
            if "duplicate file name" not in str(error):
                raise
            raise InputError(f"{shard}: a file is there twice: {' '.join(map(str, error.args[:4]))}") from error


def _is_passed_over(member: dict[str, Any]) -> bool:
    """Return whether a file of a tar is none of the dataset's, as when it is listed: hidden, such as `._0001.png`."""
    parts = str(member.get("fname", "")).split("/")
    return any(is_hidden(part) for part in parts if part not in (".", ".."))


def _sample(shard: str, key: str, files: dict[str, bytes]) -> Sample:
    """Return a sample from its files by extension. Raises InputError if it lacks an image or a label."""
    images = image_extensions(files.keys() & set(IMAGE_EXTENSIONS))
    if not images or "cls" not in files:
        has = ", ".join(sorted(name for name in files if not name.startswith("__")))
        raise InputError(f"{_place(shard, key)} needs an image and a .cls; it has {has}")
    try:
        label = parse_label(files["cls"])
    except ValueError:
        raise InputError(f"{_place(shard, key)}: its .cls is {files['cls'][:40]!r}, expected a class index") from None
    texts: dict[str, bytes] = {name: files[name] for name in ("txt", "json") if name in files}
    return Sample(shard, key, images[0], files[images[0]], label, texts)


def _place(shard: str, key: str) -> str:
    return f"{shard}: sample {key!r}"
