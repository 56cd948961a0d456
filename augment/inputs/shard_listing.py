"""WebDataset tars as input: what they hold, and where in them."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from augment.errors import InputError
from augment.inputs.keys import unique_keys
from augment.inputs.locate import (
    expand_shards,
    is_url,
    open_file,
    reaching,
    read_range,
    relative_names,
    version_of,
)
from augment.storage.tar import StrictTarInfo, split_member_name
from augment.types import MAX_LABEL, Source

SHARD_IMAGE_EXTENSIONS = ("png", "jpg", "jpeg", "webp")  # in this order, should a sample have several
_TEXT_EXTENSIONS = ("cls", "txt", "json")
_REMOTE_AT_ONCE = 8  # tars listed at the same time: each mostly waits for the network


def list_shards(path: Path | str | Sequence[str]) -> list[Source]:
    """List the samples of some tars, in no order. Classes that no sample names have an empty name.

    Raises:
        InputError: if a tar is missing, not readable or empty, or has a sample without image or class.
    """
    shards = expand_shards(path)
    if foreign := [shard for shard in shards if not shard.endswith(".tar")]:
        raise InputError(f"{foreign[0]}: only uncompressed files named *.tar are read; unpack it first")
    if any(map(is_url, shards)):
        with ThreadPoolExecutor(_REMOTE_AT_ONCE) as pool:
            listed = list(pool.map(_list_shard, shards))
    else:
        listed = list(map(_list_shard, shards))
    found = [(i, source) for i, sources in enumerate(listed) for source in sources]
    if not found:
        raise InputError(f"no sample in {len(shards)} tar(s), the first is {shards[0]}; expected files like 0001.png")
    short = relative_names(shards)
    keys = unique_keys(
        [source.key for _, source in found],
        lambda i: f"{short[found[i][0]]}::{found[i][1].key}",
        lambda i: f"a sample in {shards[found[i][0]]}",
    )
    class_names: dict[int, str] = {}
    for shard, source in found:
        name = class_names.setdefault(source.label, source.class_name) if source.class_name else ""
        if name != source.class_name:
            raise InputError(
                f"{shards[shard]}: sample {source.key!r}: class {source.label} is called {source.class_name!r} here, "
                f"but {name!r} in an earlier sample"
            )
    return [replace(source, key=key) for key, (_, source) in zip(keys, found, strict=True)]


def read_member(place: str, size: int) -> bytes:
    """Return the content of a file in a tar; one request suffices while the tar is as it was listed.

    Images are read in an order that is random over all tars, so going through a tar for one of them would cost too
    much: that is done only for a tar that has changed, to find the file by its name.

    Args:
        place: `tar path::member name@offset`, as `list_shards` gives it; the offset is that of the content, in bytes.
        size: bytes, as listed.

    Raises:
        InputError: if the file is not there, or not readable.
    """
    tar, _, member = place.partition(".tar::")
    shard, (name, _, offset) = f"{tar}.tar", member.rpartition("@")
    data = read_range(shard, int(offset) - tarfile.BLOCKSIZE, tarfile.BLOCKSIZE + size)
    if _is_header(data[: tarfile.BLOCKSIZE], name, size):
        return data[tarfile.BLOCKSIZE :]
    try:
        start, now = _member_index(shard, version_of(shard))[name]
    except KeyError:
        raise InputError(f"{shard}: has no member {name!r}; did the tar change since it was listed?") from None
    return read_range(shard, start, now)


def _is_header(block: bytes, name: str, size: int) -> bool:
    """Return whether a block of a tar is the header of the file.

    Of a long name it has the beginning only, and in tars of the PAX format `?` for each letter that is not ASCII.
    """
    try:
        header = tarfile.TarInfo.frombuf(block, tarfile.ENCODING, "surrogateescape")
    except tarfile.HeaderError:
        return False
    plain = name.encode("ascii", "replace").decode()
    return header.size == size and header.name != "" and (name.startswith(header.name) or plain.startswith(header.name))


@lru_cache(maxsize=256)
def _member_index(shard: str, version: str) -> dict[str, tuple[int, int]]:
    """Return offset and size of every file in a tar, by name. A tar of another version is read anew."""
    return {member.name: (member.offset, member.size) for member in _members(shard)}


@dataclass(frozen=True, slots=True)
class _Member:
    """A file in a tar, and its content if that was wanted, else b""."""

    name: str
    offset: int
    size: int
    content: bytes


def _members(shard: str, text_extensions: Sequence[str] = ()) -> Iterator[_Member]:
    """Yield the files in a tar, in its order, with the content of those that have one of the extensions."""
    with reaching(shard), open_file(shard) as file:
        try:
            with tarfile.open(fileobj=file, mode="r:", tarinfo=StrictTarInfo) as tar:
                for member in tar:
                    if not member.isreg():
                        continue
                    split = split_member_name(member.name)
                    # Read in passing: a remote file should not be gone through twice.
                    content = tar.extractfile(member) if split and split[1] in text_extensions else None
                    data = content.read() if content else b""
                    yield _Member(member.name, member.offset_data, member.size, data)
        except tarfile.TarError as error:
            raise InputError(f"{shard}: not a readable, uncompressed tar: {error}") from error


def _list_shard(shard: str) -> list[Source]:
    """Return the samples of a tar, still under the record's own key."""
    samples: list[tuple[str, dict[str, _Member]]] = []  # by extension, neighbours with one key together
    for member in _members(shard, _TEXT_EXTENSIONS):
        split = split_member_name(member.name)
        if split is None:
            continue
        if not samples or samples[-1][0] != split[0]:
            samples.append((split[0], {}))
        samples[-1][1][split[1]] = member
    return [_source_from_record(key, shard, members) for key, members in samples]


def _source_from_record(key: str, shard: str, members: Mapping[str, _Member]) -> Source:
    where = f"{shard}: sample {key!r}"

    def parse(extension: str, convert: Callable[[bytes], Any], expected: str) -> Any:
        data = members[extension].content
        try:
            return convert(data)
        except ValueError:
            raise InputError(f"{where}: its .{extension} is {data[:40]!r}, expected {expected}") from None

    image = next((extension for extension in SHARD_IMAGE_EXTENSIONS if extension in members), None)
    if image is None or "cls" not in members:
        lacks = f"no image ({', '.join(SHARD_IMAGE_EXTENSIONS)})" if image is None else "no .cls with the class index"
        raise InputError(f"{where} has {lacks}; it has {', '.join(sorted(members))}")
    label = parse("cls", parse_label, "a class index such as 3")
    details = parse("json", _json_object, "a JSON object") if "json" in members else {}
    attributes = {name: value for name, value in details.items() if isinstance(value, str)}
    return Source(
        key,
        locator=f"{shard}::{members[image].name}@{members[image].offset}",
        size=members[image].size,
        label=label,
        class_name=attributes.pop("class_name", ""),
        caption=parse("txt", bytes.decode, "UTF-8 text").strip() if "txt" in members else "",
        attributes=attributes,
    )


def _json_object(data: bytes) -> dict[str, Any]:
    value = json.loads(data)
    if not isinstance(value, dict):
        raise ValueError(f"a {type(value).__name__} is no object")
    return value


def parse_label(data: bytes) -> int:
    """Return the class index in a `cls` member. Raises ValueError unless it is an integer from 0 to 2^63 - 1."""
    label = int(data)
    if not 0 <= label <= MAX_LABEL:
        raise ValueError(f"class index {label} is not within 0..2^63-1")
    return label
