"""Shards as a Ray Data dataset of pictures and labels.

    from augment.distribute.ray_data import read_pictures
    edits = read_pictures("out/demo/shards", image_size=64)
    for batch in edits.select_columns(["image", "label"]).iter_torch_batches(batch_size=64): ...

Ray's own `read_webdataset` decodes every member by its name with its default decoder, pickles too if an environment
variable says so, and makes columns of whatever members the first samples have. Here a picture and an integer are
decoded, and nothing else.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import ray.data

from augment.errors import ImageError, InputError
from augment.inputs.fit import Fit, FitName
from augment.inputs.images import decode_image
from augment.inputs.patterns import expand_shards
from augment.training.shards import Sample, read_shard

_ROWS = 64  # that a task decodes before it hands them on
_MOST_DAMAGED = 100  # pictures in a row


def read_pictures(shards: Path | str | Sequence[str], *, image_size: int, fit: FitName = "crop") -> ray.data.Dataset:
    """Return a dataset with a row for each sample; a task reads one shard, in its order.

    The columns are `image` (uint8 [image_size, image_size, 3]), `label` (int), `key`, `shard`, and `record`, the text
    of the sample's `.json`, "" without one. Damaged pictures are passed over with a warning in the worker's log.

    Args:
        shards: as for `mixed_loader`; every node must reach them.
        image_size: side in pixels of the square that every picture becomes.
        fit: `crop`, `stretch` or `pad`.

    Raises:
        InputError: if there are no such shards; while tasks run, if one cannot be read.
        ValueError: if the fit gives no squares.
    """
    if fit not in ("crop", "pad", "stretch"):
        raise ValueError(f"fit is {fit!r}, expected crop, pad or stretch: a batch has one size")
    rows = [{"shard": shard} for shard in expand_shards(shards)]
    listed = ray.data.from_items(rows, override_num_blocks=len(rows))
    return listed.map_batches(_pictures, batch_size=1, fn_kwargs={"fit": Fit(fit, image_size)})


def _pictures(batch: dict[str, np.ndarray], fit: Fit) -> Iterator[dict[str, Any]]:
    """Yield the rows of a shard, some at a time, as columns."""
    rows: list[dict[str, Any]] = []
    damaged = 0
    for sample in read_shard(str(batch["shard"][0])):
        try:
            rows.append(_row(sample, fit))
            damaged = 0
        except ImageError as error:
            damaged += 1
            if damaged > _MOST_DAMAGED:
                raise InputError(f"{sample.where}: {error}; so were the {_MOST_DAMAGED} images before it") from error
            warnings.warn(f"{sample.where} is passed over: {error}", stacklevel=2)
        if len(rows) == _ROWS:
            yield _columns(rows)
            rows = []
    if rows:
        yield _columns(rows)


def _row(sample: Sample, fit: Fit) -> dict[str, Any]:
    return {
        "image": fit.padded(np.asarray(decode_image(sample.image, fit))),
        "label": sample.label,
        "key": sample.key,
        "shard": sample.shard,
        "record": sample.texts.get("json", b"").decode("utf-8", "replace"),
    }


def _columns(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}
