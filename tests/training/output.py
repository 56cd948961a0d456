"""A toy output folder of `augment expand`, with its index: edits of given pictures, some of them rejected or failed."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

from augment.dataset.index import IndexWriter
from augment.dataset.record import EditRecord, edit_files, planned_record
from augment.storage.tar import write_tar
from augment.types import EditStatus, PlannedSource, Source, Variant
from tests.training.toy import BACKGROUNDS, NAMES, picture


def write_output(folder: Path, sources: list[bytes], count: int = 6, per_shard: int = 7) -> Path:
    """Write `count` accepted edits of each class, one rejected, one failed one; edit n is made of source n, in turn."""
    accepted, index = [], _index(folder)
    for number in range(count * len(NAMES) + 2):
        label = number % len(NAMES)
        source = Source(f"s{number:03d}", "/nowhere.png", 1, label, NAMES[label])
        variant = Variant(0, f"a {NAMES[label]} thing", {"background": BACKGROUNDS[number % 2]})
        record = planned_record(PlannedSource(source, f"a {NAMES[label]}", (variant,)), variant, "hash")
        sha256 = hashlib.sha256(sources[number % len(sources)]).hexdigest()
        record = replace(record, source_sha256=sha256, label_probability=number / 100)
        if number == 3:
            _add(index, replace(record, stage="decode"), "")
        elif number == 5:
            _add(index, replace(record, status=EditStatus.REJECTED.value), "rejected/rejected-000000.tar")
        else:
            record = replace(record, status=EditStatus.ACCEPTED.value)
            _add(index, record, f"shards/train-{len(accepted) // per_shard:06d}.tar")
            accepted.append((record.key, edit_files(record, picture(label, number, "edit"))))
    index.close()
    for first in range(0, len(accepted), per_shard):
        write_tar(folder / "shards" / f"train-{first // per_shard:06d}.tar", accepted[first : first + per_shard])
    (folder / "manifest.json").write_text("{}")
    return folder


def _add(index: IndexWriter, record: EditRecord, shard: str) -> None:
    index.add({name: [value] for name, value in vars(record).items()} | {"shard": [shard]})


def _index(folder: Path) -> IndexWriter:
    folder.mkdir(parents=True)
    return IndexWriter(folder / "index.parquet")
