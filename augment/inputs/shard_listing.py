"""WebDataset tars as input: what they hold, and where in them."""

from __future__ import annotations

import json
import re
import tarfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from augment.errors import InputError
from augment.inputs.formats import (
    HEAD_BYTES,
    HIDDEN,
    IMAGE_EXTENSIONS,
    is_hidden,
    kind_of_head,
    kind_of_name,
)
from augment.inputs.keys import unique_keys
from augment.inputs.listing import LINK, MORE_IMAGES, Listing
from augment.inputs.locate import is_url, open_file, reaching, read_range, relative_names, version_of
from augment.inputs.patterns import expand_files
from augment.inputs.tar_problems import apart, how_to_unpack, no_tar
from augment.storage.tar import StrictTarInfo, split_member_name
from augment.types import MAX_LABEL, Source

_PREFERRED = ("png", "jpg", "jpeg", "webp", *IMAGE_EXTENSIONS)  # should a sample have several
_TEXT_EXTENSIONS = ("cls", "txt", "json")
MASK = "mask.png"  # what is kept of a sample's picture when it is edited
_REMOTE_AT_ONCE = 8  # tars listed at the same time: each mostly waits for the network


def list_shards(path: Path | str | Sequence[str], *, masks: bool = False) -> Listing:
    """List the samples of some tars, in no order. Classes that no sample names have an empty name.

    Args:
        masks: list the member `mask.png` of each sample that has one.

    Raises:
        InputError: if a tar is missing, not readable or empty, or has a sample without image or class.
    """
    shards, left_out = expand_files(path, (".tar",), "shards")
    if foreign := [shard for shard in shards if not shard.endswith(".tar")]:
        raise InputError(f"{foreign[0]}: only uncompressed files named *.tar are read{how_to_unpack(foreign[0])}")
    list_one = partial(_list_shard, masks=masks)
    if any(map(is_url, shards)):
        with ThreadPoolExecutor(_REMOTE_AT_ONCE) as pool:
            listed = list(pool.map(list_one, shards))
    else:
        listed = list(map(list_one, shards))
    found = [(i, source) for i, shard in enumerate(listed) for source in shard.sources]
    for shard in listed:
        left_out.update(shard.left_out)
    if not found:
        raise InputError(f"no sample in {len(shards)} tar(s), the first is {shards[0]}; expected files like 0001.png")
    short = relative_names(shards)
    keys = unique_keys(
        [source.key for _, source in found],
        lambda i: f"{short[found[i][0]]}::{found[i][1].key}",
        lambda i: f"a sample in {shards[found[i][0]]}",
    )
    class_names: dict[int, str] = {}
    for place, source in found:
        name = class_names.setdefault(source.label, source.class_name) if source.class_name else ""
        if name != source.class_name:
            raise InputError(
                f"{shards[place]}: sample {source.key!r}: class {source.label} is called {source.class_name!r} here, "
                f"but {name!r} in an earlier sample"
            )
    return Listing([replace(source, key=key) for key, (_, source) in zip(keys, found, strict=True)], left_out)


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


def image_members(shard: str) -> dict[str, tuple[str, int]]:
    """Return place and size of the image of each sample in a tar, by key, as `read_member` takes them.

    Only headers are read: of a local tar that is quick, a remote one is gone through.

    Raises:
        InputError: if the tar is missing or not readable.
    """
    found: dict[str, dict[str, _Member]] = {}
    for member in _members(shard):
        key, extension = split_member_name(member.name) or (member.name, "")
        if _kind(member, extension) == "image":
            found.setdefault(key, {})[extension] = member
    chosen = {key: members[image_extensions(members)[0]] for key, members in found.items()}
    return {key: (f"{shard}::{image.name}@{image.offset}", image.size) for key, image in chosen.items()}


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
    return {m.name: (m.offset, m.size) for m in _members(shard) if not m.is_link}


@dataclass(frozen=True, slots=True)
class _Member:
    """A file in a tar, or a link (which has no bytes); its content, or the beginning, if that was wanted, else b""."""

    name: str
    offset: int
    size: int
    content: bytes
    is_link: bool = False


def _nothing(name: str) -> int:
    return 0


def _members(shard: str, wanted: Callable[[str], int] = _nothing) -> Iterator[_Member]:
    """Yield what is in a tar, in its order, without folders.

    Args:
        shard: path or URL.
        wanted: name -> number of bytes of the content to read in passing, -1 for all: a remote file should not be gone
            through twice.
    """
    with reaching(shard), open_file(shard) as file:
        problem = no_tar(shard, file.read(tarfile.BLOCKSIZE))
        if problem:
            raise InputError(problem)
        file.seek(0)
        try:
            with tarfile.open(fileobj=file, mode="r:", tarinfo=StrictTarInfo) as tar:
                for member in tar:
                    if not member.isreg():
                        if not member.isdir():
                            yield _Member(member.name, 0, 0, b"", is_link=True)
                        continue
                    size = wanted(member.name)
                    content = tar.extractfile(member) if size else None
                    yield _Member(member.name, member.offset_data, member.size, content.read(size) if content else b"")
        except tarfile.TarError as error:
            raise InputError(f"{shard}: not a readable, uncompressed tar: {error}") from error


def _list_shard(shard: str, masks: bool) -> Listing:
    """Return the samples of a tar, still under the record's own key."""
    samples: list[tuple[str, dict[str, _Member]]] = []  # by extension, neighbours with one key together
    left_out: Counter[str] = Counter()
    for member in _members(shard, _bytes_wanted):
        key, extension = split_member_name(member.name) or (member.name, "")
        kind = _kind(member, extension)
        if masks and kind == MORE_IMAGES and extension == MASK:
            kind = "part"
        if kind not in ("image", "part"):
            left_out[kind] += 1
            continue
        if not samples or samples[-1][0] != key:
            samples.append((key, {}))
        samples[-1][1][extension] = member
    runs = Counter(key for key, _ in samples)
    sources = []
    for key, members in samples:
        images = image_extensions([extension for extension in members if extension != MASK])
        if runs[key] > 1 and not (images and "cls" in members):
            names = [m.name for other, parts in samples if other == key for m in parts.values()]
            raise InputError(apart(shard, key, names))
        if images or "cls" in members:
            sources.append(_source_from_record(key, shard, members, images))
            left_out.update(f"{MORE_IMAGES} (.{other}; its .{images[0]} is taken)" for other in images[1:])
        else:
            left_out["text"] += len(members)  # a README, say
    return Listing(sources, left_out)


def _bytes_wanted(name: str) -> int:
    extension = (split_member_name(name) or ("", ""))[1]
    return -1 if extension in _TEXT_EXTENSIONS else 0 if kind_of_name(name) else HEAD_BYTES


def _kind(member: _Member, extension: str) -> str:
    """Return `image` or `part` for what may be used of a sample, or the kind of file that is left out."""
    if any(is_hidden(part) for part in member.name.split("/") if part not in (".", "..")):
        return HIDDEN
    if member.is_link:
        return LINK
    if extension in _TEXT_EXTENSIONS:
        return "part"
    kind = kind_of_name(member.name) or kind_of_head(member.content)
    # `0001.seg.png` is a mask of 0001, say, and not its picture.
    return MORE_IMAGES if kind == "image" and "." in extension else kind


def image_extensions(files: Iterable[str]) -> list[str]:
    """Return the extensions of a sample's images, the one to use first; of its other files only `cls`, `txt` and `json`
    may be among those given."""
    known = [extension for extension in dict.fromkeys(_PREFERRED) if extension in files]
    return known + sorted(set(files) - {*known, *_TEXT_EXTENSIONS})


def _source_from_record(key: str, shard: str, members: Mapping[str, _Member], images: Sequence[str]) -> Source:
    where = f"{shard}: sample {key!r}"

    def parse(extension: str, convert: Callable[[bytes], Any], expected: str) -> Any:
        data = members[extension].content
        try:
            return convert(data)
        except ValueError:
            raise InputError(f"{where}: its .{extension} is {data[:40]!r}, expected {expected}") from None

    if not images or "cls" not in members:
        lacks = "no .cls with the class index" if images else f"no image ({', '.join(_PREFERRED[:8])}, ...)"
        raise InputError(f"{where} has {lacks}; it has {', '.join(sorted(members))}")
    image = members[images[0]]
    label = parse("cls", parse_label, "a class index such as 3: digits and nothing else")
    details = parse("json", _json_object, "a JSON object") if "json" in members else {}
    attributes = {name: value for name, value in details.items() if isinstance(value, str)}
    return Source(
        key,
        locator=f"{shard}::{image.name}@{image.offset}",
        size=image.size,
        label=label,
        class_name=attributes.pop("class_name", ""),
        caption=parse("txt", bytes.decode, "UTF-8 text").strip() if "txt" in members else "",
        attributes=attributes,
        mask=f"{shard}::{members[MASK].name}@{members[MASK].offset}" if MASK in members else "",
        mask_size=members[MASK].size if MASK in members else 0,
    )


def _json_object(data: bytes) -> dict[str, Any]:
    value = json.loads(data)
    if not isinstance(value, dict):
        raise ValueError(f"a {type(value).__name__} is no object")
    return value


def parse_label(data: bytes) -> int:
    """Return the class index in a `cls` member. Raises ValueError unless it is an integer from 0 to 2^63 - 1.

    `int` would read `1_0` as 10, and digits of other scripts.
    """
    text = data.strip()
    if not re.fullmatch(rb"[0-9]{1,19}", text) or int(text) > MAX_LABEL:
        raise ValueError(f"class index {data[:40]!r} is not within 0..2^63-1")
    return int(text)
