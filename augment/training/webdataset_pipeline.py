"""The mixed samples as the first stage of a webdataset pipeline, for those who have the rest of theirs.

import webdataset as wds
from augment.training.webdataset_pipeline import MixedSamples

samples = MixedSamples("data/train/*.tar", "out/demo/shards", epoch_samples=10_000)
stages = wds.decode("pil"), wds.to_tuple("png;jpg;webp", "cls"), wds.map_tuple(upright), wds.map_tuple(transform)
pipeline = wds.DataPipeline(samples, *stages, wds.batched(64))
loader = wds.WebLoader(pipeline, batch_size=None, num_workers=4)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch.utils.data import IterableDataset, get_worker_info

from augment.training.leaks import refuse_held_out
from augment.training.mixture import OPEN_SHARDS, MixedStream, Shards, mixture_of
from augment.training.pieces import stream_number
from augment.training.ranks import rank_and_world_size, share_of_rank


class MixedSamples(IterableDataset[dict[str, str | bytes]]):
    """Samples as webdataset has them: `__key__`, `__url__`, and the bytes of the image, `cls`, and `txt` and `json`.

    The order, the ratio and what each worker of each rank reads are those of `mixed_loader`; so are the arguments.
    No other file of a sample is handed on, so nothing that a pipeline decodes can be a pickle.

    An epoch has the same samples each time, unless `set_epoch` is called before it.

    Raises:
        InputError: if there are no such shards; while iterating, if one cannot be read.
        LeakError: if samples are held out.
        ValueError: for a number out of its range; the message names it.
    """

    def __init__(
        self,
        real: Shards,
        synthetic: Shards | None = None,
        *,
        epoch_samples: int,
        synthetic_ratio: float = 0.5,
        class_balanced: bool = False,
        held_out: Sequence[Path | str] = (),
        seed: int = 0,
        open_shards: int = OPEN_SHARDS,
        rank: int | None = None,
        world_size: int | None = None,
    ) -> None:
        self._rank, self._world_size = rank_and_world_size(rank, world_size)
        self._samples = share_of_rank(epoch_samples, self._world_size)
        self._mixture = mixture_of(real, synthetic, synthetic_ratio, open_shards, class_balanced, seed)
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()  # worker processes that live on see it, too
        if held_out:
            refuse_held_out(held_out, self._mixture.real, self._mixture.synthetic)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration gives."""
        self._epoch.fill_(epoch)

    def __iter__(self) -> Iterator[dict[str, str | bytes]]:
        info = get_worker_info()
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        index = stream_number(worker, self._rank, self._world_size)
        stream = MixedStream(self._mixture, int(self._epoch), index, self._world_size * workers)
        for _ in range(worker, self._samples, workers):
            sample = stream.next_sample()
            files = {sample.extension: sample.image, "cls": str(sample.label).encode()} | sample.texts
            yield {"__key__": sample.key, "__url__": sample.shard} | files
