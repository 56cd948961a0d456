"""Datasets as they lie on disk -> sorted `Source` rows; and the bytes of one of them, when it is its turn.

Listing looks at names and, in tars, at the small text members, never at pixels: a damaged image is listed like any
other, and becomes an error row where it is decoded.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from augment.data.locate import InputError, expand_shards, is_image, missing, what_is_in
from augment.data.tar import StrictTarInfo, split_member_name
from augment.types import Source

InputFormat = Literal["imagefolder", "webdataset"]
SHARD_IMAGE_EXTENSIONS = ("png", "jpg", "jpeg", "webp")  # in this order, should a sample have several


def list_sources(
    path: Path | str | Sequence[str], format: InputFormat, class_names: Mapping[int, str] | None = None
) -> list[Source]:
    """List a dataset, sorted by key.

    Keys come from the path inside the dataset, or from the record's key, and match `[A-Za-z0-9_/-]+`. A name with other
    characters, or one that several images share, gets eight hexadecimal digits of a hash of its full name appended.

    Args:
        path: for `imagefolder`, a folder with one folder per class (label = place in the sorted list of classes); for
            `webdataset`, tars with an image, `cls`, and optionally `txt` (caption) and `json` (`class_name`; every
            other text value is an attribute): a tar, a folder of tars, a pattern with `*` or `{000..009}`, or a list.
        format: which of the two.
        class_names: label -> name of every class, instead of what the dataset calls them.

    Raises:
        InputError: if the path is missing, holds no image, or holds something whose class is not known.
    """
    if remote := [p for p in ([path] if isinstance(path, Path | str) else path) if "://" in str(p)]:
        raise InputError(f"{remote[0]}: only local files are read; copy or mount the dataset first")
    if format == "imagefolder":
        if not isinstance(path, Path | str):
            raise InputError(f"format 'imagefolder' takes one folder, not a list: {list(path)}")
        sources = list(_list_image_folder(Path(path)))
    elif format == "webdataset":
        sources = list(_list_shards(path))
    else:
        raise InputError(f"unknown input format {format!r}; known are 'imagefolder' and 'webdataset'")
    return sorted(_named(sources, class_names or {}), key=lambda source: source.key)


def read_bytes(source: Source) -> bytes:
    """The image file of a source, as it lies on disk.

    Raises:
        InputError: if it is no longer there, or no longer readable.
    """
    path, is_member, member = source.locator.partition(".tar::")
    if not is_member:
        try:
            return Path(source.locator).read_bytes()
        except OSError as error:
            raise InputError(f"{source.locator}: {error.strerror}") from error
    path += ".tar"
    try:
        offset, size = _member_index(path)[member]
        with open(path, "rb") as file:
            file.seek(offset)
            return file.read(size)
    except KeyError:
        raise InputError(f"{path}: has no member {member!r}; did the tar change since it was listed?") from None
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error


def _named(sources: list[Source], given: Mapping[int, str]) -> list[Source]:
    """The sources with the names of their classes: those given, or else those that came with the dataset."""
    names = given or {s.label: s.class_name for s in sources if s.class_name}
    if nameless := sorted({s.label for s in sources} - names.keys()):
        labels = ", ".join(map(str, nameless[:10])) + (" ..." if len(nameless) > 10 else "")
        found = "input.class_names lacks" if given else "the dataset has no name for"
        raise InputError(
            f"{found} the label(s) {labels}, and a prompt needs a word. Give input.class_names a name for every label, "
            f"for example {{{nameless[0]}: fox}}, or put class_name into the json of the samples"
        )
    return [replace(s, class_name=names[s.label]) for s in sources]


def _list_image_folder(root: Path) -> Iterator[Source]:
    if not root.is_dir():
        raise InputError(f"{root} is a file, not a folder of images" if root.exists() else missing(str(root)))
    entries = sorted(entry for entry in root.iterdir() if not entry.name.startswith("."))
    classes = [entry for entry in entries if entry.is_dir()]
    loose = [entry.name for entry in entries if entry.is_file() and is_image(entry.name)]
    if loose:
        raise InputError(
            f"{root}: {len(loose)} image file(s) outside any class folder, the first is {loose[0]}; "
            "put every image into a folder named after its class"
        )
    if foreign := [entry.name for entry in classes if any("\udc80" <= char <= "\udcff" for char in entry.name)]:
        raise InputError(f"{root}: the name of the class folder {foreign[0]!r} is not UTF-8, so no prompt; rename it")
    files = {folder: sorted(_images_below(folder)) for folder in classes}
    if not any(files.values()):
        raise InputError(f"no image in {root}: {what_is_in(root)}")
    if empty := [folder.name for folder in classes if not files[folder]]:
        raise InputError(
            f"{root}: no image in the class folder(s) {', '.join(empty)}; remove or fill them, because labels are "
            "places in the sorted list of class folders"
        )
    names = [(folder, label, file) for label, folder in enumerate(classes) for file in files[folder]]
    keys = _unique_keys([(str(f.relative_to(root).with_suffix("")), str(f.relative_to(root))) for _, _, f in names])
    for key, (folder, label, file) in zip(keys, names, strict=True):
        yield Source(key, locator=str(file), size=file.stat().st_size, label=label, class_name=folder.name)


def _list_shards(path: Path | str | Sequence[str]) -> Iterator[Source]:
    shards = expand_shards(path)
    if foreign := [shard for shard in shards if not shard.endswith(".tar")]:
        raise InputError(f"{foreign[0]}: only uncompressed local files named *.tar are read; copy or unpack it first")
    base = os.path.commonpath([os.path.dirname(os.path.abspath(shard)) for shard in shards])
    found = [(shard, source) for shard in shards for source in _sources_in_shard(shard)]
    if not found:
        raise InputError(f"no sample in {len(shards)} tar(s), the first is {shards[0]}; expected files like 0001.png")
    keys = _unique_keys([(source.key, f"{os.path.relpath(shard, base)}::{source.key}") for shard, source in found])
    class_names: dict[int, str] = {}
    for key, (shard, source) in zip(keys, found, strict=True):
        name = class_names.setdefault(source.label, source.class_name) if source.class_name else ""
        if name != source.class_name:
            raise InputError(
                f"{shard}: sample {source.key!r}: class {source.label} is called {source.class_name!r} here, "
                f"but {name!r} in an earlier sample"
            )
        yield replace(source, key=key)


def _sources_in_shard(shard: str) -> Iterator[Source]:
    """The samples of a tar, still under the record's own key."""
    samples: list[tuple[str, dict[str, str]]] = []  # key and member name by extension, neighbours with one key together
    index = _member_index(shard)
    for name in index:
        split = split_member_name(name)
        if split is None:
            continue
        if not samples or samples[-1][0] != split[0]:
            samples.append((split[0], {}))
        samples[-1][1][split[1]] = name
    with open(shard, "rb") as file:

        def read(member: str) -> bytes:
            offset, size = index[member]
            file.seek(offset)
            return file.read(size)

        for key, members in samples:
            yield _source_from_record(key, shard, members, read, index)


def _source_from_record(
    key: str,
    shard: str,
    members: dict[str, str],
    read: Callable[[str], bytes],
    index: dict[str, tuple[int, int]],
) -> Source:
    where = f"{shard}: sample {key!r}"

    def parse(extension: str, convert: Callable[[bytes], Any], expected: str) -> Any:
        data = read(members[extension])
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
        locator=f"{shard}::{members[image]}",
        size=index[members[image]][1],
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
    """The class index in a `cls` member. Raises ValueError if it is no integer, or negative."""
    label = int(data)
    if label < 0:
        raise ValueError(f"negative class index {label}")
    return label


def _member_index(path: str) -> dict[str, tuple[int, int]]:
    """Offset and size of every file in a tar, by name; kept for the next reader in this process."""
    status = os.stat(path)
    return _read_member_index(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=256)
def _read_member_index(path: str, mtime_ns: int, num_bytes: int) -> dict[str, tuple[int, int]]:
    # Time and size are arguments so that a changed tar is indexed anew.
    try:
        with tarfile.open(path, "r:", tarinfo=StrictTarInfo) as tar:
            return {member.name: (member.offset_data, member.size) for member in tar if member.isreg()}
    except (tarfile.TarError, OSError) as error:
        raise InputError(f"{path}: not a readable, uncompressed tar: {error}") from error


def _unique_keys(names: list[tuple[str, str]]) -> list[str]:
    """Keys from (name, full name) pairs. A hash is added wherever the name alone could stand for two images."""
    clean = [re.sub(r"[^A-Za-z0-9_/-]", "_", name) for name, _ in names]
    counts = Counter(clean)
    keys = []
    for key, (name, full_name) in zip(clean, names, strict=True):
        # Also when it is unique today: the key of an image must not change because another one joins the dataset.
        ambiguous = key != name or counts[key] > 1
        keys.append(f"{key}-{_short_hash(full_name)}" if ambiguous else key)
    if repeated := [key for key, count in Counter(keys).items() if count > 1]:
        raise InputError(f"the key {repeated[0]!r} occurs twice in the dataset; give the images distinct names")
    return keys


def _short_hash(name: str) -> str:
    """Of a file name, which on POSIX is bytes and need not be UTF-8."""
    return hashlib.sha256(name.encode(errors="surrogateescape")).hexdigest()[:8]


def _images_below(folder: Path) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(parent) / name for name in files if is_image(name))
