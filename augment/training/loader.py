"""Real and synthetic WebDataset shards, mixed, as batches for training a classifier.

    from augment.training.loader import mixed_loader
    loader = mixed_loader("data/train/*.tar", "out/demo/shards", batch_size=64, epoch_samples=10_000, image_size=64)
    for images, labels in loader: ...

How samples reach a batch: every DataLoader worker of every rank is one *stream*. Each stream goes over the shards in
passes; in one pass the streams of all ranks together read every sample of a source once, in a random order that mixes
shards which are sorted by class (see `augment.training.shards`). A batch has samples of every worker of its rank. Each
sample is synthetic with probability `synthetic_ratio`, so the ratio does not depend on how many images either side has.

Everything random is seeded: the same seed, epoch, shards and numbers of ranks and workers give the same batches.
Reading, grouping and shuffling are webdataset's. Which stream reads which shard is decided here: its resampler draws
shards with replacement and starts every epoch of a worker with the same ones, and its mixer draws from the global
random generator. Nothing but images and integers is decoded, so no pickle is ever read.
"""

from __future__ import annotations

import itertools
import os
import random
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.distributed
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from augment.errors import ImageError, InputError
from augment.inputs.fit import Fit, FitName
from augment.inputs.images import decode_image
from augment.inputs.patterns import expand_shards
from augment.inputs.tensors import to_images
from augment.seeding import seed_for
from augment.training.mixing import MixingCheck
from augment.training.shards import Stream, samples

OPEN_SHARDS = 128
MAX_DAMAGED = 100  # damaged images in a row; more are no accident, and raise

Shards = Path | str | Sequence[str]
Batch = tuple[Tensor, Tensor]


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
    open_shards: int = OPEN_SHARDS,
    fit: FitName = "crop",
    rank: int | None = None,
    world_size: int | None = None,
) -> MixedLoader:
    """Return a loader of real and synthetic images, mixed; an epoch is a number of samples, not a pass over either.

    Iterating warns once if the batches have fewer classes than those of a shuffled dataset would: the shards are sorted
    in a way that cannot be mixed while they are read.

    Args:
        real, synthetic: shards with an image and `cls` per sample: a tar, a folder of tars, a pattern with `*` or
            `{000..009}`, or a list of these; paths or fsspec URLs. Without `synthetic` every sample is real.
        batch_size: samples per batch on each rank; only the last batch of an epoch may be smaller.
        epoch_samples: samples of one epoch over all ranks together; must divide by `world_size`, so that no rank
            waits for another's batch that never comes.
        image_size: side in pixels of the square that every image becomes: a batch has one size.
        synthetic_ratio: probability in 0..1 that a sample is synthetic.
        seed: determines the order and the mixture. Iterating again gives the next epoch, with another order.
        num_workers: processes that decode; 0 decodes in this one.
        open_shards: shards that a process reads at the same time, of each source. Fewer are enough for shards that are
            mixtures; of remote shards all that are open together hold 128 MiB in memory.
        fit: `crop`, `stretch` or `pad`; of edits that a run made with `bucket` or `pad`, `crop` loses what those kept.
        rank, world_size: default to torch.distributed when it is initialised, then to RANK and WORLD_SIZE, then to one.

    Returns:
        a loader that yields images, float32 [B, 3, image_size, image_size] in -1..1, and labels, int64 [B].

    Raises:
        InputError: if there are no such shards; while iterating, if one cannot be read.
        ValueError: for a number out of its range; the message names it.
    """
    rank, world_size = _rank_and_world_size(rank, world_size)
    _at_least(1, batch_size=batch_size, epoch_samples=epoch_samples, image_size=image_size, open_shards=open_shards)
    _at_least(0, num_workers=num_workers)
    if not 0 <= synthetic_ratio <= 1:
        raise ValueError(f"synthetic_ratio is {synthetic_ratio}, expected 0 to 1")
    mixture = _Mixture(
        real=tuple(expand_shards(real)),
        synthetic=tuple(expand_shards(synthetic)) if synthetic is not None else (),
        synthetic_ratio=synthetic_ratio if synthetic is not None else 0.0,
        batch_size=batch_size,
        samples=_share_of_rank(epoch_samples, world_size),
        fit=_square(fit, image_size),
        open_shards=open_shards,
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
    fit: Fit
    open_shards: int
    seed: int
    rank: int
    world_size: int

    @property
    def num_batches(self) -> int:
        return -(-self.samples // self.batch_size)

    def pieces(self, num_workers: int) -> int:
        """Return how many pieces a batch has: one of each worker, so that it mixes the shards of all of them."""
        return max(1, min(num_workers, self.batch_size))


class MixedLoader:
    """An iterable over the batches of one epoch; every new iteration is the next epoch. Made by `mixed_loader`."""

    def __init__(self, mixture: _Mixture, num_workers: int) -> None:
        self._mixture = mixture
        self._num_workers = min(num_workers, mixture.samples)
        self._epoch = 0
        self._check = MixingCheck(mixture.batch_size)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration gives, for example after resuming from a checkpoint."""
        self._epoch = epoch

    def __len__(self) -> int:
        """Return the number of batches per epoch on this rank."""
        return self._mixture.num_batches

    def __iter__(self) -> Iterator[Batch]:
        dataset = _Epoch(self._mixture, self._epoch)
        self._epoch += 1
        num_pieces = self._mixture.pieces(self._num_workers)
        ahead = 2 * num_pieces if self._num_workers else None  # as many samples ahead as two batches of each worker
        loader = DataLoader(dataset, batch_size=None, num_workers=self._num_workers, prefetch_factor=ahead)
        return self._checked(_joined(iter(loader), num_pieces))

    def _checked(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """Yield the batches; warn once if they have fewer classes than mixed ones."""
        for images, labels in batches:
            if found := self._check.observe(labels.tolist()):
                warnings.warn(_not_mixed(self._mixture, *found), stacklevel=2)
            yield images, labels


def _joined(pieces: Iterator[Batch], num_pieces: int) -> Iterator[Batch]:
    """Yield batches of so many pieces each."""
    while group := list(itertools.islice(pieces, num_pieces)):
        images, labels = zip(*group, strict=True)
        yield (images[0], labels[0]) if num_pieces == 1 else (torch.cat(images), torch.cat(labels))


def _not_mixed(mixture: _Mixture, seen: float, expected: float) -> str:
    """Return a warning that batches have fewer classes than mixed ones, and what to do."""
    most = max(len(mixture.real), len(mixture.synthetic))
    more = f", or raise open_shards above {mixture.open_shards}" if most > mixture.open_shards else ""
    return (
        f"batches of {mixture.batch_size} have {seen:.1f} classes on average, mixed ones would have {expected:.1f}: "
        "samples of a class follow each other in the shards in a way that reading cannot mix. Write their samples "
        f"again in a random order{more}."
    )


class _Epoch(IterableDataset[Batch]):
    """One epoch of one rank, in pieces of batches.

    Of n workers, worker w makes the pieces w, w + n, ..., which is DataLoader's own order.
    """

    def __init__(self, mixture: _Mixture, epoch: int) -> None:
        self.mixture = mixture
        self.epoch = epoch

    def __iter__(self) -> Iterator[Batch]:
        mixture, info = self.mixture, get_worker_info()
        worker, num_workers = (info.id, info.num_workers) if info else (0, 1)
        index, count = mixture.rank * num_workers + worker, mixture.world_size * num_workers
        seed, num_pieces = seed_for(mixture.seed, self.epoch), mixture.pieces(num_workers)
        real, synthetic = (
            _images(shards, Stream(index, count, mixture.open_shards, seed_for(seed, name)), mixture.fit)
            for name, shards in (("real", mixture.real), ("synthetic", mixture.synthetic))
        )
        rng = random.Random(seed_for(seed, "mixture", index))
        for number in range(worker, mixture.num_batches * num_pieces, num_workers):
            batch, piece = divmod(number, num_pieces)
            size = min(mixture.batch_size, mixture.samples - batch * mixture.batch_size)
            # The odd samples of a batch come from another worker each time.
            share = size // num_pieces + ((piece + batch) % num_pieces < size % num_pieces)
            drawn = [next(synthetic if rng.random() < mixture.synthetic_ratio else real) for _ in range(share)]
            pixels = np.empty((share, mixture.fit.image_size, mixture.fit.image_size, 3), np.uint8)
            for place, (image, _) in enumerate(drawn):
                pixels[place] = image
            labels = torch.tensor([label for _, label in drawn], dtype=torch.int64)
            yield to_images(pixels).contiguous(), labels


def _images(shards: tuple[str, ...], stream: Stream, fit: Fit) -> Iterator[tuple[np.ndarray, int]]:
    """Yield pixels, uint8 [H, W, 3], and labels, without end. Damaged images are passed over with a warning."""
    damaged = 0
    for sample in samples(shards, stream):
        try:
            pixels = fit.padded(np.asarray(decode_image(sample.image, fit)))
        except ImageError as error:
            damaged += 1
            if damaged > MAX_DAMAGED:
                raise InputError(f"{sample.where}: {error}; so were the {MAX_DAMAGED} images before it") from error
            warnings.warn(f"{sample.where} is passed over: {error}", stacklevel=2)
            continue
        damaged = 0
        yield pixels, sample.label


def _square(fit: FitName, image_size: int) -> Fit:
    """Return the fit. Raises ValueError if it is none that gives squares."""
    if fit not in ("crop", "pad", "stretch"):
        raise ValueError(f"fit is {fit!r}, expected crop, pad or stretch: a batch has one size")
    return Fit(fit, image_size)


def _at_least(least: int, **values: int) -> None:
    """Raise ValueError for the first value that is too small."""
    for name, value in values.items():
        if value < least:
            raise ValueError(f"{name} is {value}, expected at least {least}")


def _share_of_rank(epoch_samples: int, world_size: int) -> int:
    """Return the samples of one rank. Raises ValueError if not all ranks have the same number."""
    if epoch_samples % world_size:
        below = epoch_samples - epoch_samples % world_size
        raise ValueError(
            f"epoch_samples is {epoch_samples}, which {world_size} ranks cannot share evenly; "
            f"take {below or world_size} or {below + world_size}"
        )
    return epoch_samples // world_size


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
