"""Files, folders, patterns and lists of these, as people name tars and manifests -> the files that they stand for."""

from __future__ import annotations

import glob
import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from braceexpand import braceexpand

from augment.errors import InputError
from augment.inputs.formats import HIDDEN, UNKNOWN, is_hidden, kind_of_name
from augment.inputs.listing import FOLDER, NOT_PUBLISHED
from augment.inputs.locate import below, filesystem, is_url, join, missing, plain, reaching, read_file
from augment.inputs.walk import list_folder, what_is_in

PUBLISHED = ("shards", "rejected")  # folders in the output of `augment expand`


def expand_shards(path: Path | str | Sequence[str]) -> list[str]:
    """Return the tars that a tar, a folder, a pattern or a list of these stands for; see `expand_files`."""
    return expand_files(path, (".tar",), "shards")[0]


def expand_files(
    path: Path | str | Sequence[str], extensions: tuple[str, ...], what: str
) -> tuple[list[str], Counter[str]]:
    """Return the files that a file, a folder, a pattern (`*`, `{000..009}`) or a list of these stands for, sorted.

    With them come counts of what else, by kind, the folders hold.

    A URL that ends in one of the extensions and has no `*` is taken to exist: asking for each of many takes long.
    In URLs `*` is the only wildcard, because `?` and `[` may be part of one. `**` stands for folders at any depth. What
    exists under the name as it is written is no pattern.

    Args:
        extensions: extensions in lower case, with their dots, of the files wanted in a folder or by a pattern.
        what: what the files are called in messages.

    Raises:
        InputError: if something named does not exist, or if nothing is found.
    """
    found, left_out = set[str](), Counter[str]()
    for pattern in [path] if isinstance(path, Path | str) else list(path):
        for one in _without_braces(plain(pattern)):
            files, others = (_expand_url if is_url(one) else _expand_local)(one, extensions)
            found.update(files)
            left_out += others
    if not found:
        raise InputError(f"no file given: the list of {what} is empty")
    return sorted(found), left_out


def _expand_local(path: str, extensions: tuple[str, ...]) -> tuple[list[str], Counter[str]]:
    if os.path.isdir(path):
        return _directly_in(path, extensions)
    if os.path.exists(path):
        return [path], Counter()
    if matches := [match for match in glob.glob(path, recursive=True) if match.lower().endswith(extensions)]:
        return matches, Counter()
    raise InputError(missing(path))


def _expand_url(url: str, extensions: tuple[str, ...]) -> tuple[list[str], Counter[str]]:
    if "*" in url:
        folder = url.partition("*")[0].rpartition("/")[0]
        if folder.endswith("/"):
            raise InputError(f"{url}: the first name after :// must be written out")
        (fs, pattern), (_, root) = filesystem(url), filesystem(folder)
        with reaching(url):
            fs.invalidate_cache()
            names = [below(root, path) for path in fs.glob(pattern) if path.lower().endswith(extensions)]
        matches = [join(folder, name) for name in names if not name.startswith(".") and "/." not in name]
        if not matches:
            raise InputError(f"{url}: nothing there has such a name")
        return matches, Counter()
    return ([url], Counter()) if url.lower().endswith(extensions) else _directly_in(url, extensions)


def _directly_in(folder: str, extensions: tuple[str, ...]) -> tuple[list[str], Counter[str]]:
    names, left_out = [], Counter[str]()
    published = _published(folder) if ".tar" in extensions else None
    for name, size in list_folder(folder).items():
        if is_hidden(name):
            left_out[HIDDEN] += 1
        elif size is None:
            left_out[FOLDER] += 1
        elif published is not None and name.lower().endswith(extensions) and name not in published:
            left_out[NOT_PUBLISHED] += 1
        elif name.lower().endswith(extensions):
            names.append(join(folder.rstrip("/"), name))
        else:
            left_out[kind_of_name(name) or UNKNOWN] += 1
    if not names:
        what = what_is_in(folder, extensions)
        raise InputError(f"no {' or '.join(extensions)} file in the folder {folder}: {what}")
    return names, left_out


def _published(folder: str) -> set[str] | None:
    """Return the names of the files in a folder of `augment expand` that its manifest names; None for any other folder.

    While such a folder is published anew, the shards of two datasets lie in it.
    """
    above, _, name = folder.rstrip("/").rpartition("/")
    if name not in PUBLISHED:
        return None
    try:
        manifest = json.loads(read_file(join(above or ("/" if folder.startswith("/") else "."), "manifest.json")))
        return {file.partition("/")[2] for file in dict(manifest["files"]) if file.startswith(f"{name}/")}
    except (InputError, ValueError, KeyError, TypeError):
        return None


def _without_braces(pattern: str) -> Iterator[str]:
    if not is_url(pattern) and os.path.lexists(pattern):
        yield pattern
        return
    try:
        yield from braceexpand(pattern)
    except ValueError as error:
        raise InputError(f"{pattern}: {error}; a set of shards is written like train-{{000..009}}.tar") from error
