"""Paths as people write them -> files that exist; and what to say where they do not."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from braceexpand import braceexpand

from augment.data.images import IMAGE_EXTENSIONS


class InputError(ValueError):
    """The input cannot be used as it is; the message says what was found and what to do."""


def expand_shards(path: Path | str | Sequence[str]) -> list[str]:
    """Paths of the tars that a tar, a folder, a pattern (`*`, `{000..009}`) or a list of these stands for, sorted.

    What looks like a URL (`scheme://`) has its braces expanded and is otherwise left as it is.

    Raises:
        InputError: if something named does not exist, or if nothing is found.
    """
    found: set[str] = set()
    for pattern in [path] if isinstance(path, Path | str) else list(path):
        for one in _expand_braces(str(pattern)):
            if "://" in one:
                found.add(one)
            elif os.path.isdir(one):
                tars = glob.glob(os.path.join(glob.escape(one), "*.tar"))
                if not tars:
                    raise InputError(f"no .tar file in the folder {one}: {what_is_in(Path(one))}")
                found.update(tars)
            elif os.path.exists(one):
                found.add(one)
            elif matches := [match for match in glob.glob(one) if match.endswith(".tar")]:
                found.update(matches)
            else:
                raise InputError(missing(one))
    if not found:
        raise InputError("no tar given: the list of shards is empty")
    return sorted(found)


def _expand_braces(pattern: str) -> Iterator[str]:
    try:
        yield from braceexpand(pattern)
    except ValueError as error:
        raise InputError(f"{pattern}: {error}; a set of shards is written like train-{{000..009}}.tar") from error


def is_image(name: str) -> bool:
    """Whether a file counts as an image, by its name."""
    return not name.startswith(".") and name.rpartition(".")[2].lower() in IMAGE_EXTENSIONS


def missing(path: str) -> str:
    """That a path does not exist, and where it stops existing."""
    parent = Path(path).parent
    while not parent.exists():
        parent = parent.parent
    return f"{path} does not exist (the nearest folder that does is {parent.resolve()})"


def what_is_in(folder: Path) -> str:
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
