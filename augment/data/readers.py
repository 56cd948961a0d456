"""Datasets as they lie on disk -> sorted `Source` rows; and the bytes of one of them, when it is its turn.

Listing looks at names and, in tars, at the small text members, never at pixels: a damaged image is listed like any
other, and becomes an error row where it is decoded.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import re
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from braceexpand import braceexpand

from augment.data.images import IMAGE_EXTENSIONS
from augment.data.tar import split_member_name
from augment.types import Source

InputFormat = Literal["imagefolder", "webdataset"]
SHARD_IMAGE_EXTENSIONS = ("png", "jpg", "jpeg", "webp")  # in this order, should a sample have several


class InputError(ValueError):
    """The input cannot be used as it is; the message says what was found and what to do."""


def list_sources(path: Path | str | Sequence[str], format: InputFormat) -> list[Source]:
    """List a dataset, sorted by key.

    Keys come from the path inside the dataset, or from the record's key, and match `[A-Za-z0-9_/-]+`. A name with other
    characters, or one that several images share, gets eight hexadecimal digits of a hash of its full name appended.

    Args:
        path: for `imagefolder`, a folder with one folder per class (label = place in the sorted list of classes); for
            `webdataset`, tars with an image, `cls`, and optionally `txt` (caption) and `json` (`class_name`; every
            other text value is an attribute): a tar, a folder of tars, a pattern with `*` or `{000..009}`, or a list.
        format: which of the two.

    Raises:
        InputError: if the path is missing, holds no image, or holds something whose class is not known.
    """
    if format == "imagefolder":
        if not isinstance(path, Path | str):
            raise InputError(f"format 'imagefolder' takes one folder, not a list: {list(path)}")
        sources = list(_list_image_folder(Path(path)))
    elif format == "webdataset":
        sources = list(_list_shards(path))
    else:
        raise InputError(f"unknown input format {format!r}; known are 'imagefolder' and 'webdataset'")
    return sorted(sources, key=lambda source: source.key)


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


def expand_shards(path: Path | str | Sequence[str]) -> list[str]:
    """Paths of the tars that a tar, a folder, a pattern (`*`, `{000..009}`) or a list of these stands for, sorted.

    What looks like a URL (`scheme://`) has its braces expanded and is otherwise left as it is.

    Raises:
        InputError: if something named does not exist, or if nothing is found.
    """
    found: set[str] = set()
    for pattern in [path] if isinstance(path, Path | str) else list(path):
        for one in braceexpand(str(pattern)):
            if "://" in one:
                found.add(one)
            elif os.path.isdir(one):
                tars = glob.glob(os.path.join(glob.escape(one), "*.tar"))
                if not tars:
                    raise InputError(f"no .tar file in the folder {one}: {_what_is_in(Path(one))}")
                found.update(tars)
            elif os.path.exists(one):
                found.add(one)
            elif matches := [match for match in glob.glob(one) if match.endswith(".tar")]:
                found.update(matches)
            else:
                raise InputError(_missing(one))
    if not found:
        raise InputError("no tar given: the list of shards is empty")
    return sorted(found)


def _list_image_folder(root: Path) -> Iterator[Source]:
    if not root.is_dir():
        raise InputError(f"{root} is a file, not a folder of images" if root.exists() else _missing(str(root)))
    entries = sorted(entry for entry in root.iterdir() if not entry.name.startswith("."))
    classes = [entry for entry in entries if entry.is_dir()]
    loose = [entry.name for entry in entries if entry.is_file() and _is_image(entry.name)]
    if loose:
        raise InputError(
            f"{root}: {len(loose)} image file(s) outside any class folder, the first is {loose[0]}; "
            "put every image into a folder named after its class"
        )
    files = {folder: sorted(_images_below(folder)) for folder in classes}
    if not any(files.values()):
        raise InputError(f"no image in {root}: {_what_is_in(root)}")
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
    if foreign := [shard for shard in shards if "://" in shard or not shard.endswith(".tar")]:
        raise InputError(f"{foreign[0]}: only uncompressed local files named *.tar are read; copy or unpack it first")
    base = os.path.commonpath([os.path.dirname(os.path.abspath(shard)) for shard in shards])
    found = [(shard, source) for shard in shards for source in _sources_in_shard(shard)]
    if not found:
        raise InputError(f"no sample in {len(shards)} tar(s), the first is {shards[0]}; expected files like 0001.png")
    keys = _unique_keys([(source.key, f"{os.path.relpath(shard, base)}::{source.key}") for shard, source in found])
    class_names: dict[int, str] = {}
    for key, (shard, source) in zip(keys, found, strict=True):
        name = class_names.setdefault(source.label, source.class_name)
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
        class_name=attributes.pop("class_name", str(label)),
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
        with tarfile.open(path, "r:") as tar:
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
        keys.append(f"{key}-{hashlib.sha256(full_name.encode()).hexdigest()[:8]}" if ambiguous else key)
    if repeated := [key for key, count in Counter(keys).items() if count > 1]:
        raise InputError(f"the key {repeated[0]!r} occurs twice in the dataset; give the images distinct names")
    return keys


def _is_image(name: str) -> bool:
    return not name.startswith(".") and name.rpartition(".")[2].lower() in IMAGE_EXTENSIONS


def _images_below(folder: Path) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(parent) / name for name in files if _is_image(name))


def _missing(path: str) -> str:
    parent = Path(path).parent
    while not parent.exists():
        parent = parent.parent
    return f"{path} does not exist (the nearest folder that does is {parent.resolve()})"


def _what_is_in(folder: Path) -> str:
    """What a folder holds instead of what was looked for, and the next thing to do."""
    kinds = Counter(file.suffix.lower() or "no extension" for file in folder.rglob("*") if file.is_file())
    if not kinds:
        return "it holds no file at all"
    found = "it holds " + ", ".join(f"{count} file(s) with {kind}" for kind, count in kinds.most_common(3))
    if ".tar" in kinds:
        return f"{found}; for tars set the format to 'webdataset'"
    if any(kind.removeprefix(".") in IMAGE_EXTENSIONS for kind in kinds):
        return f"{found}; for one folder of images per class set the format to 'imagefolder'"
    return f"{found}; images are read with the extensions {', '.join(IMAGE_EXTENSIONS)}"
