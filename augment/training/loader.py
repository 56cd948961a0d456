"""Real and synthetic WebDataset shards, mixed, as batches for training a classifier.

    from augment.training.loader import mixed_loader
    loader = mixed_loader("data/train/*.tar", "out/demo/shards", batch_size=64, epoch_samples=10_000, image_size=64)
    for images, labels in loader: ...

How samples reach a batch: every DataLoader worker of every rank is one *stream*. Each stream goes over the shards in
passes; in one pass the streams of all ranks together read every sample of a source once (whole shards when there are
at least as many shards as streams, otherwise every n-th sample of each shard), shuffled. Each sample of a batch is
synthetic with probability `synthetic_ratio`, so the ratio does not depend on how many images either side has.

Everything random is seeded: the same seed, epoch, shards and numbers of ranks and workers give the same batches.
Reading, grouping and shuffling are webdataset's. Which stream reads which shard is decided here: its resampler draws
shards with replacement and starts every epoch of a worker with the same ones, and its mixer draws from the global
random generator. Nothing but images and integers is decoded, so no pickle is ever read.
"""

from __future__ import annotations

import itertools
import os
import random
import tarfile
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
import torch.distributed
import webdataset as wds
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info
from webdataset.tariterators import group_by_keys, tar_file_expander

from augment.errors import ImageError, InputError
from augment.inputs.images import decode_image
from augment.inputs.locate import expand_shards, open_file, reaching
from augment.inputs.shard_listing import SHARD_IMAGE_EXTENSIONS, parse_label
from augment.inputs.tensors import to_images
from augment.seeding import seed_for

SHUFFLE_BUFFER = 1000  # encoded images held by a stream per source
MAX_DAMAGED = 100  # damaged images in a row; more are no accident, and raise

Shards = Path | str | Sequence[str]
_Sample = tuple[str, bytes, int]  # where it is, the encoded image, its label


def mixed_loader(
    real: Shards,
    synthetic: Shards | None = None,
    *,
    batch_size: int,
    epoch_samples: int,
    image_size: int,
    synthetic_ratio: float = 0.5,
    seed: int = 0,
    num_workers: int = 0,
    rank: int | None = None,
    world_size: int | None = None,
) -> MixedLoader:
    """Return a loader of real and synthetic images, mixed; an epoch is a number of samples, not a pass over either.

    Args:
        real, synthetic: shards with an image and `cls` per sample: a tar, a folder of tars, a pattern with `*` or
            `{000..009}`, or a list of these; paths or fsspec URLs. Without `synthetic` every sample is real.
        batch_size: samples per batch on each rank; only the last batch of an epoch may be smaller.
        epoch_samples: samples of one epoch over all ranks together; must divide by `world_size`, so that no rank
            waits for another's batch that never comes.
        image_size: side in pixels; the shorter side is resized to it and the centre cropped.
        synthetic_ratio: probability in 0..1 that a sample is synthetic.
        seed: determines the order and the mixture. Iterating again gives the next epoch, with another order.
        num_workers: processes that decode; 0 decodes in this one.
        rank, world_size: default to torch.distributed when it is initialised, then to RANK and WORLD_SIZE, then to one.

    Returns:
        a loader that yields images, float32 [B, 3, image_size, image_size] in -1..1, and labels, int64 [B].

    Raises:
        InputError: if there are no such shards; while iterating, if one cannot be read.
        ValueError: for a number out of its range; the message names it.
    """
    rank, world_size = _rank_and_world_size(rank, world_size)
    for name, value in (("batch_size", batch_size), ("epoch_samples", epoch_samples), ("image_size", image_size)):
        if value < 1:
            raise ValueError(f"{name} is {value}, expected at least 1")
    if epoch_samples % world_size:
        below = epoch_samples - epoch_samples % world_size
        raise ValueError(
            f"epoch_samples is {epoch_samples}, which {world_size} ranks cannot share evenly; "
            f"take {below or world_size} or {below + world_size}"
        )
    if num_workers < 0:
        raise ValueError(f"num_workers is {num_workers}, expected at least 0")
    if not 0 <= synthetic_ratio <= 1:
        raise ValueError(f"synthetic_ratio is {synthetic_ratio}, expected 0 to 1")
    mixture = _Mixture(
        real=tuple(expand_shards(real)),
        synthetic=tuple(expand_shards(synthetic)) if synthetic is not None else (),
        synthetic_ratio=synthetic_ratio if synthetic is not None else 0.0,
        batch_size=batch_size,
        samples=epoch_samples // world_size,
        image_size=image_size,
        seed=seed,
        rank=rank,
        world_size=world_size,
    )
    return MixedLoader(mixture, num_workers)


@dataclass(frozen=True)
class _Mixture:
    """What one rank reads in an epoch."""

    real: tuple[str, ...]
    synthetic: tuple[str, ...]
    synthetic_ratio: float
    batch_size: int
    samples: int
    image_size: int
    seed: int
    rank: int
    world_size: int

    @property
    def num_batches(self) -> int:
        return -(-self.samples // self.batch_size)


class MixedLoader:
    """An iterable over the batches of one epoch; every new iteration is the next epoch. Made by `mixed_loader`."""

    def __init__(self, mixture: _Mixture, num_workers: int) -> None:
        self._mixture = mixture
        self._num_workers = min(num_workers, mixture.num_batches)
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration gives, for example after resuming from a checkpoint."""
        self._epoch = epoch

    def __len__(self) -> int:
        """Return the number of batches per epoch on this rank."""
        return self._mixture.num_batches

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        dataset = _Epoch(self._mixture, self._epoch)
        self._epoch += 1
        batches = DataLoader(dataset, batch_size=None, num_workers=self._num_workers)
        return cast(Iterator[tuple[Tensor, Tensor]], iter(batches))


class _Epoch(IterableDataset[tuple[Tensor, Tensor]]):
    """One epoch of one rank. Of n workers, worker w makes the batches w, w + n, ..., in DataLoader's own order."""

    def __init__(self, mixture: _Mixture, epoch: int) -> None:
        self.mixture = mixture
        self.epoch = epoch

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        mixture, info = self.mixture, get_worker_info()
        worker, num_workers = (info.id, info.num_workers) if info else (0, 1)
        stream, num_streams = mixture.rank * num_workers + worker, mixture.world_size * num_workers
        seed = seed_for(mixture.seed, self.epoch)
        real, synthetic = (
            _images(shards, stream, num_streams, seed_for(seed, name), mixture.image_size)
            for name, shards in (("real", mixture.real), ("synthetic", mixture.synthetic))
        )
        rng = random.Random(seed_for(seed, "mixture", stream))
        for batch in range(worker, mixture.num_batches, num_workers):
            size = min(mixture.batch_size, mixture.samples - batch * mixture.batch_size)
            samples = [next(synthetic if rng.random() < mixture.synthetic_ratio else real) for _ in range(size)]
            pixels = np.stack([image for image, _ in samples])  # (B, H, W, 3), uint8
            labels = torch.tensor([label for _, label in samples], dtype=torch.int64)
            yield to_images(pixels).contiguous(), labels


def _images(
    shards: tuple[str, ...], stream: int, num_streams: int, seed: int, image_size: int
) -> Iterator[tuple[np.ndarray, int]]:
    """Yield pixels, uint8 [H, W, 3], and labels, without end. Damaged images are passed over with a warning."""
    damaged = 0
    for where, image, label in _samples(shards, stream, num_streams, seed):
        try:
            pixels = np.asarray(decode_image(image, image_size))
        except ImageError as error:
            damaged += 1
            if damaged > MAX_DAMAGED:
                raise InputError(f"{where}: {error}; so were the {MAX_DAMAGED} images before it") from error
            warnings.warn(f"{where} is passed over: {error}", stacklevel=2)
            continue
        damaged = 0
        yield pixels, label


def _samples(shards: tuple[str, ...], stream: int, num_streams: int, seed: int) -> Iterator[_Sample]:
    """Yield this stream's share of pass after pass, without end."""
    empty_passes = 0  # in a row
    for pass_number in itertools.count():
        order = list(shards)
        random.Random(seed_for(seed, "shards", pass_number)).shuffle(order)
        if len(shards) >= num_streams:
            # Numbered through all passes, so that the odd shards go to another stream each time.
            first = pass_number * len(shards)
            order = [shard for i, shard in enumerate(order, first) if i % num_streams == stream]
            share, shares = 0, 1
        else:
            share, shares = (stream + pass_number) % num_streams, num_streams
        found = (sample for shard in order for sample in itertools.islice(_read_shard(shard), share, None, shares))
        empty_passes += 1
        rng = random.Random(seed_for(seed, "samples", pass_number, stream))
        # `initial`: no sample leaves before the buffer is full, so that small datasets are shuffled whole.
        for sample in wds.shuffle(SHUFFLE_BUFFER, initial=SHUFFLE_BUFFER, rng=rng)(found):
            empty_passes = 0
            yield sample
        # One empty pass may be chance: with few samples this stream's share of a pass can be none of them.
        if empty_passes > num_streams:
            raise InputError(f"no sample in {len(shards)} shard(s), the first is {shards[0]}")


def _read_shard(shard: str) -> Iterator[_Sample]:
    with reaching(shard), open_file(shard) as stream:
        try:
            for files in group_by_keys(tar_file_expander([{"url": shard, "stream": stream}])):
                where = f"{shard}: sample {files['__key__']!r}"
                image = next((files[extension] for extension in SHARD_IMAGE_EXTENSIONS if extension in files), None)
                if image is None or "cls" not in files:
                    has = ", ".join(sorted(name for name in files if not name.startswith("__")))
                    raise InputError(f"{where} needs an image and a .cls; it has {has}")
                try:
                    label = parse_label(files["cls"])
                except ValueError:
                    raise InputError(f"{where}: its .cls is {files['cls'][:40]!r}, expected a class index") from None
                yield where, image, label
        except tarfile.TarError as error:
            raise InputError(f"{shard}: not a readable tar: {error}") from error


def _rank_and_world_size(rank: int | None, world_size: int | None) -> tuple[int, int]:
    """Return the rank and the number of ranks: as given, else torch.distributed's, else the environment's."""
    if (rank is None) != (world_size is None):
        raise ValueError(f"give rank and world_size together: rank is {rank}, world_size is {world_size}")
    if rank is None or world_size is None:
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            rank, world_size = torch.distributed.get_rank(), torch.distributed.get_world_size()
        else:
            rank, world_size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    if not 0 <= rank < world_size:
        raise ValueError(f"rank is {rank}, expected 0 to world_size - 1 = {world_size - 1}")
    return rank, world_size
