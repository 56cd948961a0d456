"""The samples of WebDataset shards in a random order, pass after pass, with a bounded number of them in memory.

A stream has several shards open at once, or parts of few large ones, and draws each sample from one of them, with a
probability in proportion to the bytes that are left in it, so that large and small ones end together. What is drawn
goes through a shuffle buffer. So shards that hold one class each, as many tools write them, give batches of all
classes; and epochs shorter than a pass come to all samples in their turn (see `augment.training.open_shards`).
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import webdataset as wds

from augment.errors import InputError
from augment.inputs.formats import IMAGE_EXTENSIONS
from augment.inputs.locate import is_url, open_file, reaching
from augment.inputs.shard_listing import image_extensions, parse_label
from augment.seeding import seed_for
from augment.training.open_shards import MOST_PARTS, Files, Part, files_of, grouped, open_parts
from augment.training.shard_start import start_fraction

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
        open_shards: shards, or parts of shards, open at once.
        seed: of everything random; the same for all streams.
        epoch: gives another order, and other places to begin.
    """

    index: int
    count: int
    open_shards: int
    seed: int
    epoch: int = 0


def samples(shards: Sequence[str], stream: Stream) -> Iterator[Sample]:
    """Yield a stream's share of pass after pass, without end.

    In one pass all streams together read every sample once: whole shards where there are at least as many as streams,
    otherwise every n-th sample of each shard.

    Raises:
        InputError: if a shard cannot be read, or no shard has a sample.
    """
    empty_passes = 0  # in a row
    seed = seed_for(stream.seed, stream.epoch)
    for pass_number in itertools.count():
        turn = stream.epoch + pass_number
        order = [(shard, start_fraction(stream.seed, i, turn)) for i, shard in enumerate(shards)]
        random.Random(seed_for(seed, "shards", pass_number)).shuffle(order)
        if len(shards) >= stream.count:
            # Numbered through all passes, so that the odd shards go to another stream each time.
            first = pass_number * len(shards)
            order = [shard for i, shard in enumerate(order, first) if i % stream.count == stream.index]
            share, shares = 0, 1
        else:
            share, shares = (stream.index + pass_number) % stream.count, stream.count
        empty_passes += 1
        rng = random.Random(seed_for(seed, "samples", pass_number, stream.index))
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
        for files in grouped(shard, files_of(stream)):
            yield _sample(shard, files)


def _interleaved(
    order: Sequence[tuple[str, float]], open_shards: int, rng: random.Random, share: int, shares: int
) -> Iterator[Sample]:
    """Yield the samples number `share`, `share + shares`, ... of each part, from several parts by turns at random.

    Args:
        order: shards, each with the share of its bytes behind which it is begun.
    """
    waiting = iter(order)
    most = max(1, min(MOST_PARTS, open_shards // max(1, len(order))))
    read_ahead = min(_MOST_READ_AHEAD, _READ_AHEAD // min(open_shards, max(1, most * len(order))))
    opened: list[tuple[Part, Iterator[Files]]] = []
    try:
        while True:
            soon = list(itertools.islice(waiting, max(0, open_shards - len(opened))))
            for part in _open(soon, most, read_ahead):
                opened.append((part, itertools.islice(part.samples(), share, None, shares)))
            if not opened:
                if not soon:
                    return
                continue  # these shards are empty
            (one,) = rng.choices(opened, weights=[part.left for part, _ in opened])
            part, found = one
            if (files := next(found, None)) is not None:
                yield _sample(part.path, files)
            else:
                opened.remove(one)
                part.close()
    finally:
        for part, _ in opened:
            part.close()


def _open(order: Sequence[tuple[str, float]], most: int, read_ahead: int) -> Iterator[Part]:
    """Open some shards, remote ones at the same time."""
    if len(order) > 1 and any(is_url(path) for path, _ in order):
        with ThreadPoolExecutor(_OPENED_AT_ONCE) as pool:
            yield from itertools.chain.from_iterable(
                pool.map(lambda one: open_parts(one[0], one[1], most, read_ahead), order)
            )
    else:
        for path, start in order:
            yield from open_parts(path, start, most, read_ahead)


def _sample(shard: str, files: Files) -> Sample:
    """Return a sample from its files by extension. Raises InputError if it lacks an image or a label."""
    key = files["__key__"]
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
