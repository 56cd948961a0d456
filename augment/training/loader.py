"""Real and synthetic WebDataset shards, mixed, as batches for training a classifier.

    from augment.training.loader import mixed_loader
    loader = mixed_loader("data/train/*.tar", "out/demo/shards", batch_size=64, epoch_samples=10_000, image_size=64)
    for images, labels in loader: ...

How samples reach a batch: every DataLoader worker of every rank is one *stream*. Each stream goes over the shards in
passes; in one pass the streams of all ranks together read every sample of a source once, in a random order that mixes
shards which are sorted by class (see `augment.training.shards`). A batch has samples of every worker of its rank. The
share of synthetic samples is exact and does not depend on how many images either side has (see
`augment.training.mixture`).

Everything random is seeded: the same seed, epoch, shards and numbers of ranks and workers give the same batches, also
from the middle of an epoch on. Reading, grouping and shuffling are webdataset's. Which stream reads which shard is
decided here: its resampler draws shards with replacement and starts every epoch of a worker with the same ones, and its
mixer draws from the global random generator. Nothing but images and integers is decoded, so no pickle is ever read.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from augment.errors import TrainingError
from augment.inputs.fit import Fit, FitName
from augment.inputs.tensors import joined_images
from augment.training.leaks import refuse_held_out
from augment.training.mixing import MixingCheck
from augment.training.mixture import OPEN_SHARDS, Mixture, Position, Shards, mixture_of
from augment.training.pieces import EpochPieces, Piece, Pieces, Progress
from augment.training.ranks import rank_and_world_size, share_of_rank

Batch = tuple[Tensor, Tensor]


def mixed_loader(
    real: Shards,
    synthetic: Shards | None = None,
    *,
    batch_size: int,
    epoch_samples: int,
    image_size: int,
    synthetic_ratio: float = 0.5,
    class_balanced: bool = False,
    held_out: Sequence[Path | str] = (),
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
        epoch_samples: samples of an epoch over all ranks; must divide by `world_size`, so that none waits for another.
        image_size: side in pixels of the square that every image becomes: a batch has one size.
        synthetic_ratio: share p of synthetic samples, 0 to 1: of the first n of a stream floor(n p) or ceil(n p).
        class_balanced: give every class of a source equally often (see `augment.training.balance`).
        held_out: datasets to measure on; pictures of theirs, and edits of these, are refused (see `refuse_held_out`).
        seed: determines the order and the mixture. Iterating again gives the next epoch, with another order.
        num_workers: processes that decode; 0 decodes in this one.
        open_shards: shards that a process reads at the same time, of each source; see docs/training.md.
        fit: `crop`, `stretch` or `pad`; of edits that a run made with `bucket` or `pad`, `crop` loses what those kept.
        rank, world_size: default to torch.distributed when it is initialised, then to RANK and WORLD_SIZE, then to one.

    Returns:
        a loader that yields images, float32 [B, 3, image_size, image_size] in -1..1, and labels, int64 [B].

    Raises:
        InputError: if there are no such shards; while iterating, if one cannot be read.
        LeakError: if samples are held out.
        ValueError: for a number out of its range; the message names it.
    """
    rank, world_size = rank_and_world_size(rank, world_size)
    _at_least(1, batch_size=batch_size, image_size=image_size)
    _at_least(0, num_workers=num_workers)
    samples, square = share_of_rank(epoch_samples, world_size), _square(fit, image_size)
    pieces = Pieces(batch_size, samples, max(1, min(num_workers, samples)), rank, world_size)
    mixture = mixture_of(real, synthetic, synthetic_ratio, open_shards, class_balanced, seed)
    if held_out:
        refuse_held_out(held_out, mixture.real, mixture.synthetic)
    return MixedLoader(mixture, pieces, square, in_processes=num_workers > 0)


class MixedLoader:
    """An iterable over the batches of one epoch; every new iteration is the next epoch. Made by `mixed_loader`.

    `state_dict` and `load_state_dict` are the protocol of torchdata, Lightning and torch.distributed.checkpoint: a
    loader made with the same arguments goes on after the last batch that was given, with the same batches.

    Attributes:
        sampler: what trainers tell the epoch, as they do with a DataLoader's (see `EpochOfTrainer`).
    """

    def __init__(self, mixture: Mixture, pieces: Pieces, fit: Fit, in_processes: bool) -> None:
        self._mixture, self._pieces, self._fit = mixture, pieces, fit
        self._num_workers = pieces.workers if in_processes else 0
        self._check = MixingCheck(pieces.batch_size)
        self._next = self._now = self._start_of(0)
        self.sampler = EpochOfTrainer(self)

    @property
    def next_epoch(self) -> int:
        """Return the epoch that the next iteration gives, or goes on with."""
        return self._next.epoch

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration gives, from its first batch on."""
        self._next = self._now = self._start_of(epoch)

    def __len__(self) -> int:
        """Return the number of batches per epoch on this rank."""
        return self._pieces.num_batches

    def state_dict(self) -> dict[str, Any]:
        """Return where the loader stands, after the last batch that was given, as plain data for a checkpoint."""
        now = self._now
        planned = self._pieces.positions(self._mixture, now.batches)
        damaged = [[p.real - q.real, p.synthetic - q.synthetic] for p, q in zip(now.positions, planned, strict=True)]
        return {
            "epoch": now.epoch,
            "batches": now.batches,
            "rank": self._pieces.rank,
            "damaged": damaged,  # of each worker, real and synthetic samples that could not be decoded
            "settings": self._settings(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on, with the next iteration, where a loader stood. What it had given is read again, but not decoded.

        Each rank loads its own state. Another rank's does as well, as long as no image was passed over as damaged.

        Raises:
            TrainingError: if the state is of a loader with other settings; the message names them.
        """
        saved, own = state["settings"], self._settings()
        if other := [f"{name} {saved.get(name)}, not {own[name]}" for name in own if saved.get(name) != own[name]]:
            raise TrainingError(
                f"the state of the loader was saved with {'; with '.join(other)}. Only the same settings give the same "
                "batches: make the loader as it was, or begin an epoch with set_epoch"
            )
        positions = self._pieces.positions(self._mixture, state["batches"])
        if state["rank"] == self._pieces.rank:
            positions = tuple(
                Position(p.given, p.real + real, p.synthetic + synthetic)
                for p, (real, synthetic) in zip(positions, state["damaged"], strict=True)
            )
        self._next = self._now = Progress(state["epoch"], state["batches"], positions)

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches and note what was given; warn once if they have fewer classes than mixed ones.

        An epoch counts as begun with its first batch: trainers make iterators that they never use.
        """
        start = self._next
        self._now, self._next = start, self._start_of(start.epoch + 1)
        progress, pieces = start, self._pieces_from(start)
        while group := list(itertools.islice(pieces, self._pieces.per_batch)):
            labels = [label for piece in group for label in piece[1]]
            batch = joined_images([piece[0] for piece in group]), torch.tensor(labels)
            if found := self._check.observe(labels):
                warnings.warn(_not_mixed(self._mixture, self._pieces.batch_size, *found), stacklevel=2)
            progress = progress.after(group)
            last = progress.batches == self._pieces.num_batches
            self._now = self._next if last else progress
            yield batch

    def _pieces_from(self, start: Progress) -> Iterator[Piece]:
        dataset, workers = EpochPieces(self._mixture, self._pieces, self._fit, start), self._num_workers
        ahead = 2 * self._pieces.per_batch if workers else None  # as many samples as two batches of each worker
        return iter(DataLoader(dataset, None, num_workers=workers, prefetch_factor=ahead, collate_fn=_as_it_is))

    def _start_of(self, epoch: int) -> Progress:
        return Progress(epoch, 0, self._pieces.positions(self._mixture, 0))

    def _settings(self) -> dict[str, Any]:
        """Return all that decides which batches come."""
        return self._mixture.settings() | {
            "batch_size": self._pieces.batch_size,
            "samples of a rank": self._pieces.samples,
            "workers": self._pieces.workers,
            "world_size": self._pieces.world_size,
            "image_size": self._fit.image_size,
            "fit": self._fit.name,
        }


class EpochOfTrainer:
    """Takes the number of an epoch from a trainer that counts epochs, such as Lightning's; made by `MixedLoader`."""

    def __init__(self, loader: MixedLoader) -> None:
        self._loader = loader

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, unless the loader stands in the middle of that very one: a state was loaded."""
        if epoch != self._loader.next_epoch:
            self._loader.set_epoch(epoch)


def _as_it_is(piece: Any) -> Any:
    return piece


def _not_mixed(mixture: Mixture, batch_size: int, seen: float, expected: float) -> str:
    """Return a warning that batches have fewer classes than mixed ones, and what to do."""
    most = max(len(mixture.real), len(mixture.synthetic))
    more = f", or raise open_shards above {mixture.open_shards}" if most > mixture.open_shards else ""
    return (
        f"batches of {batch_size} have {seen:.1f} classes on average, mixed ones would have {expected:.1f}: "
        "samples of a class follow each other in the shards in a way that reading cannot mix. Write their samples "
        f"again in a random order{more}."
    )


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
