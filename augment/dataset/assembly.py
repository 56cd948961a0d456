"""The work on the files of a dataset that a process does by itself: read a part, write a shard.

No picture is decoded: a sample's files go from the part into the shard as they are, except for its JSON, which gets
the verdict.
"""

from __future__ import annotations

import hashlib
import os
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, NamedTuple

from augment.dataset.record import EDITED, SCORE_FIELDS, fields_of_record, with_verdict
from augment.storage.tar import split_member_name, write_tar
from augment.storage.tar_members import MemberReader

EXTRA_SCORES = ("inversion_residual", "inversion_evaluations")
Span = tuple[int, int]  # offset and size in bytes. What crosses to another process is of tuples, as these cross fast


class ScannedEdit(NamedTuple):
    """What is needed of one edit of a part to judge it and to put it into a shard.

    Attributes:
        scores: the fields `SCORE_FIELDS` and `EXTRA_SCORES`; empty if it failed.
        size: bytes of its files, with a JSON that says `edited`.
        files: extension -> where the file is in the part; empty if it failed.
    """

    key: str
    class_name: str
    status: str
    stage: str
    reason: str
    scores: dict[str, float]
    size: int
    files: dict[str, Span]


@dataclass(frozen=True, slots=True)
class PartScan:
    """A part that was read.

    Attributes:
        edits: in the order of the part.
        columns: the fields of all records, by name.
    """

    edits: list[ScannedEdit]
    columns: dict[str, list[Any]]


class PlacedSample(NamedTuple):
    """A sample of a shard and where its files are.

    Attributes:
        path: the local file that holds them.
        files: extension -> where in that file.
        status, reason: the verdict.
    """

    key: str
    path: str
    files: dict[str, Span]
    status: str
    reason: str


def scan_part(path: str, sha256: str) -> PartScan | None:
    """Read a part; return None if it is missing, or not the one that has this hash.

    Raises:
        RecordError: if a record does not fit the schema.
    """
    digest = hashlib.sha256()
    try:
        with open(path, "rb", buffering=0) as file:
            samples = list(_samples(MemberReader(file, digest.update)))
    except (FileNotFoundError, tarfile.TarError):
        return None
    if digest.hexdigest() != sha256:
        return None
    records, edits = [], []
    for key, files, data in samples:
        record = fields_of_record(data)
        edited = record["status"] == EDITED
        size = sum(size for ext, (_, size) in files.items() if ext != "json") + len(with_verdict(data, EDITED, ""))
        edits.append(
            ScannedEdit(
                key,
                record["class_name"],
                record["status"],
                record["stage"],
                record["reason"],
                scores={name: record[name] for name in (*SCORE_FIELDS, *EXTRA_SCORES)} if edited else {},
                size=size if edited else 0,
                files=files if edited else {},
            )
        )
        records.append(record)
    return PartScan(edits, {name: [record[name] for record in records] for name in records[0]} if records else {})


def _samples(reader: MemberReader) -> Iterator[tuple[str, dict[str, Span], bytes]]:
    """Yield key, files and JSON of the samples that have a JSON; the others are reconstructions."""
    current, files, data = "", dict[str, Span](), b""
    while (member := reader.next()) is not None:
        key, extension = split_member_name(member.name) or (member.name, "")
        if files and key != current:
            if "json" in files:
                yield current, files, data
            files = {}
        current, files[extension] = key, (member.offset, member.size)
        if extension == "json":
            data = reader.read(member)
    if "json" in files:
        yield current, files, data


def write_shard(path: str, samples: Sequence[PlacedSample]) -> tuple[str, int]:
    """Write a shard; return its SHA-256 and its size in bytes."""
    digest = hashlib.sha256()
    write_tar(path, _copied(samples), digest.update)
    return digest.hexdigest(), os.stat(path).st_size


def _copied(samples: Sequence[PlacedSample]) -> Iterator[tuple[str, dict[str, bytes]]]:
    with ExitStack() as stack:
        opened, file = "", -1
        for sample in samples:
            if sample.path != opened:
                stack.close()
                opened, file = sample.path, os.open(sample.path, os.O_RDONLY)
                stack.callback(os.close, file)
            files = {extension: os.pread(file, size, offset) for extension, (offset, size) in sample.files.items()}
            if any(len(files[extension]) < size for extension, (_, size) in sample.files.items()):
                raise OSError(f"{sample.path} has become shorter while it was read: {sample.key} is cut off")
            files["json"] = with_verdict(files["json"], sample.status, sample.reason)
            yield sample.key, files
