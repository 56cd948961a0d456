"""Batches in pieces: every worker makes a piece of each batch, so that a batch mixes the shards of all workers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from augment.inputs.fit import Fit
from augment.training.mixture import MixedStream, Mixture, Position


def stream_number(worker: int, rank: int, world_size: int) -> int:
    """Return which stream a worker of a rank is.

    Streams with neighbouring numbers turn from real to synthetic one after the other, so those of a rank lie as far
    apart as can be: the batches of a rank, which its workers make together, have the ratio as nearly as can be.
    """
    return worker * world_size + rank


@dataclass(frozen=True)
class Pieces:
    """How the batches of one rank are cut.

    Of n workers, worker w makes the pieces w, w + n, ..., which is DataLoader's own order.

    Attributes:
        batch_size: samples of a batch; the last of an epoch may have fewer.
        samples: of an epoch on this rank.
        workers: 1 if this process does the work.
        rank, world_size: which rank of how many.
    """

    batch_size: int
    samples: int
    workers: int
    rank: int
    world_size: int

    @property
    def num_batches(self) -> int:
        """Return the batches of an epoch."""
        return -(-self.samples // self.batch_size)

    @property
    def per_batch(self) -> int:
        """Return the pieces of a batch: not more than it has samples."""
        return min(self.workers, self.batch_size)

    def size(self, number: int) -> int:
        """Return the samples of a piece."""
        batch, piece = divmod(number, self.per_batch)
        whole = min(self.batch_size, self.samples - batch * self.batch_size)
        # The odd samples of a batch come from another worker each time.
        return whole // self.per_batch + ((piece + batch) % self.per_batch < whole % self.per_batch)

    def stream(self, worker: int) -> tuple[int, int]:
        """Return which stream a worker is, of how many on all ranks."""
        return stream_number(worker, self.rank, self.world_size), self.world_size * self.workers

    def positions(self, mixture: Mixture, batches: int) -> tuple[Position, ...]:
        """Return where the stream of each worker stands after so many batches, if no image is damaged."""
        found = []
        for worker in range(self.workers):
            given = sum(map(self.size, range(worker, batches * self.per_batch, self.workers)))
            synthetic = mixture.synthetic_among(given, *self.stream(worker))
            found.append(Position(given, given - synthetic, synthetic))
        return tuple(found)


# Pixels, uint8 [n, 3, H, W], labels, the worker, and where its stream stands then.
Piece = tuple[Tensor, list[int], int, Position]


@dataclass(frozen=True)
class Progress:
    """What a rank has been given of an epoch: batches, and where the stream of each worker stands after them."""

    epoch: int
    batches: int
    positions: tuple[Position, ...]

    def after(self, batch: Sequence[Piece]) -> Progress:
        """Return the progress once a batch of these pieces is given, too."""
        positions = list(self.positions)
        for _, _, worker, position in batch:
            positions[worker] = position
        return Progress(self.epoch, self.batches + 1, tuple(positions))


class EpochPieces(IterableDataset[Piece]):
    """The pieces of one epoch on one rank that are still to come."""

    def __init__(self, mixture: Mixture, pieces: Pieces, fit: Fit, progress: Progress) -> None:
        self.mixture, self.pieces, self.fit, self.progress = mixture, pieces, fit, progress

    def __iter__(self) -> Iterator[Piece]:
        pieces, progress, info = self.pieces, self.progress, get_worker_info()
        # DataLoader asks its first process first, whichever worker's turn it is after some batches.
        first = progress.batches * pieces.per_batch + (info.id if info else 0)
        worker = first % pieces.workers
        start = progress.positions[worker]
        stream = MixedStream(self.mixture, progress.epoch, *pieces.stream(worker), start)
        side = self.fit.image_size
        for number in range(first, pieces.num_batches * pieces.per_batch, pieces.workers):
            pixels = np.empty((pieces.size(number), 3, side, side), np.uint8)
            labels = []
            for place in range(len(pixels)):
                picture, label = stream.next_picture(self.fit)
                pixels[place] = picture.transpose(2, 0, 1)
                labels.append(label)
            # Pixels pass to the main process in shared memory, which for labels would cost more than it saves.
            yield torch.from_numpy(pixels), labels, worker, stream.position
