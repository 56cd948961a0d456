"""Fewer of a maker's synthetic pictures, for the curve of accuracy against edits made."""

from __future__ import annotations

import itertools
import json
from collections import defaultdict
from pathlib import Path

from augment.seeding import place_in_order
from augment.storage.tar import iter_tar, write_bytes_atomic, write_tar
from augment.study.pictures import count_pictures

SHARD_SIZE = 128


def fewer_pictures(folder: Path, per_image: int, count: float) -> Path:
    """Return the folder with some of a maker's pictures, in the same form; it lies beside theirs, and is made once.

    The smaller of two numbers has a part of the larger one's pictures.

    Args:
        folder: of the pictures.
        per_image: how many there are of each real one; of those of a rare class there are more.
        count: pictures of each real one, the first ones, and more in proportion of those that have more; below 1 a
            share of the real pictures has its first one. Which real pictures these are is random but the same for every
            maker, and as many of each class as is possible.
    """
    out = folder.with_name(f"{folder.name}-{count:g}")
    if (out / "manifest.json").exists():
        return out
    samples = [sample for shard in sorted((folder / "shards").glob("*.tar")) for sample in iter_tar(shard)]
    of_source = [list(group) for _, group in itertools.groupby(samples, key=_source)]
    own = all(len(group) == 1 for group in of_source)  # the oracle's: each picture is its own source
    if not own and (fewest := [group for group in of_source if len(group) < per_image]):
        raise AssertionError(f"{folder}: {_source(fewest[0][0])} has {len(fewest[0])} pictures, not {per_image}")
    if own:  # classes come in turn, so of any number of first pictures as many of each
        kept = samples[: max(1, round(len(samples) * count / per_image))]
    elif count < 1:
        of_class: dict[bytes, list[int]] = defaultdict(list)
        for i in sorted(range(len(of_source)), key=lambda i: place_in_order(_source(of_source[i][0]))):
            of_class[of_source[i][0][1]["cls"]].append(i)
        # In turn one of each class, until there are enough.
        ranked = sorted((rank, label, i) for label, places in of_class.items() for rank, i in enumerate(places))
        chosen = {i for _, _, i in ranked[: max(1, round(count * len(of_source)))]}
        kept = [edits[0] for i, edits in enumerate(of_source) if i in chosen]
    else:
        kept = [edit for edits in of_source for edit in edits[: round(count * len(edits) / per_image)]]
    for number, start in enumerate(range(0, len(kept), SHARD_SIZE)):
        write_tar(out / "shards" / f"train-{number:06d}.tar", kept[start : start + SHARD_SIZE])
    content = json.dumps({"pictures": len(kept), "of": count_pictures(folder), "made_of": folder.name}, indent=2)
    write_bytes_atomic(out / "manifest.json", (content + "\n").encode())
    return out


def _source(sample: tuple[str, dict[str, bytes]]) -> str:
    return str(json.loads(sample[1]["json"])["source_key"])
