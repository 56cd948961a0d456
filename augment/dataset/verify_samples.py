"""Check one published tar: every sample by itself. Done in a process of its own; see `augment.dataset.processes`."""

from __future__ import annotations

import hashlib
import tarfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from augment.dataset.record import SAMPLE_FILES, SCORE_FIELDS, fields_of_record
from augment.errors import ImageError, RecordError
from augment.inputs.images import decode_image
from augment.storage.tar import split_member_name
from augment.storage.tar_members import MemberReader
from augment.types import EditStatus

Row = dict[str, Any]  # what the index is to say about a sample: `status` and `shard`; more if it can be read


@dataclass(frozen=True)
class Expected:
    """What all samples of a dataset have in common.

    Attributes:
        class_names: label -> class name.
        config_hash: of the plan.
    """

    class_names: Mapping[int, str]
    config_hash: str


@dataclass
class CheckedShard:
    """What is in a tar.

    Attributes:
        sha256: of the whole file.
        rows: what the index is to say about each sample, by key.
        sizes: width and height -> number of pictures.
        problems: one line each.
    """

    sha256: str = ""
    rows: dict[str, Row] = field(default_factory=dict)
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)


def check_shard(path: str, name: str, status: EditStatus, expected: Expected) -> CheckedShard:
    """Check every sample of a tar, with one of them in memory at a time.

    Args:
        path: of the file on this machine.
        name: in the output folder.
        status: of the edits that belong there.
        expected: of every sample.
    """
    digest, found = hashlib.sha256(), CheckedShard()
    with open(path, "rb", buffering=0) as file:
        try:
            for key, files in _samples(MemberReader(file, digest.update)):
                if key in found.rows:
                    found.problems.append(f"{name}: the key {key} occurs a second time")
                row = found.rows[key] = {"status": status.value, "shard": name}
                problems = _sample_problems(key, files, status, expected, found.sizes, row)
                found.problems += [f"{name}: {key}: {problem}" for problem in problems]
            found.sha256 = digest.hexdigest()
        except tarfile.TarError as error:
            found.problems.append(f"{name}: not a readable tar ({error})")
            file.seek(0)
            found.sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def _samples(reader: MemberReader) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Yield key and files of each sample: consecutive members with one key."""
    current, files = "", dict[str, bytes]()
    while (member := reader.next()) is not None:
        key, extension = split_member_name(member.name) or (member.name, "")
        if files and key != current:
            yield current, files
            files = {}
        current, files[extension] = key, reader.read(member)
    if files:
        yield current, files


def _sample_problems(
    key: str, files: dict[str, bytes], status: EditStatus, expected: Expected, sizes: Counter[tuple[int, int]], row: Row
) -> Iterator[str]:
    """Yield the problems of one sample; also count its picture's size, and add to `row` what its record says."""
    if files.keys() != SAMPLE_FILES:
        yield f"has {', '.join(sorted(files))} instead of {', '.join(sorted(SAMPLE_FILES))}"
        return
    try:
        sizes[decode_image(files["png"]).size] += 1
    except ImageError as error:
        yield f"png: {error}"
    try:
        record = fields_of_record(files["json"])
    except RecordError as error:
        yield f"json: {error}"
        return
    row |= {name: record[name] for name in ("reason", "label", *SCORE_FIELDS)}
    if record["key"] != key:
        yield f"json: key is {record['key']}"
    if record["status"] != status:
        yield f"json: status is {record['status']} in a shard of {status} edits"
    if bool(record["reason"]) != (status is EditStatus.REJECTED):
        yield f"json: an edit that was {status} has the reason {record['reason']!r}"
    if files["cls"] != str(record["label"]).encode():
        yield f"cls is {files['cls']!r}, the label in json {record['label']}"
    if expected.class_names.get(record["label"]) != record["class_name"]:
        yield f"json: label {record['label']} is not the class {record['class_name']!r} of the plan"
    if files["txt"] != record["target_prompt"].encode():
        yield "txt is not the target prompt in json"
    if record["config_hash"] != expected.config_hash:
        yield f"json: config_hash is {record['config_hash']}, the plan's {expected.config_hash}"
