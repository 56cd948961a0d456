"""Folders of images: one folder per class, or one class in all."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from augment.errors import InputError
from augment.inputs.keys import unique_keys
from augment.inputs.locate import (
    files_below,
    is_image,
    is_url,
    join,
    list_folder,
    plain,
    what_is_in,
)
from augment.types import Source


def list_image_folder(path: Path | str | Sequence[str]) -> list[Source]:
    """List the images of a folder with one folder per class, in no order; a label is an index into the sorted classes.

    Raises:
        InputError: if there is no such folder, no image in it or in a class, or an image outside of the classes.
    """
    root = _one_folder(path, "imagefolder")
    entries = sorted(list_folder(root).items())
    classes = [name for name, is_folder in entries if is_folder]
    if loose := [name for name, is_folder in entries if not is_folder and is_image(name)]:
        raise InputError(
            f"{root}: {len(loose)} image file(s) outside any class folder, the first is {loose[0]}; "
            "put every image into a folder named after its class"
        )
    if foreign := [name for name in classes if any("\udc80" <= char <= "\udcff" for char in name)]:
        raise InputError(f"{root}: the name of the class folder {foreign[0]!r} is not UTF-8, so no prompt; rename it")
    found = [
        (f"{class_name}/{name}", size, label)
        for label, class_name in enumerate(classes)
        for name, size in files_below(join(root, class_name))
        if is_image(name)
    ]
    if not found:
        raise InputError(f"no image in {root}: {what_is_in(root)}")
    if empty := [classes[label] for label in sorted(set(range(len(classes))) - {label for _, _, label in found})]:
        raise InputError(
            f"{root}: no image in the class folder(s) {', '.join(empty)}; remove or fill them, because labels are "
            "places in the sorted list of class folders"
        )
    return _sources(root, found, dict(enumerate(classes)))


def list_flat_folder(path: Path | str | Sequence[str], class_names: Mapping[int, str]) -> list[Source]:
    """List the images of a folder, at any depth and in no order, all of the one class that is given.

    Raises:
        InputError: if there is no such folder, no image in it, or not exactly one class.
    """
    if len(class_names) != 1:
        raise InputError(
            "format 'flat' is for images of one class, whose label and name input.class_names must give, for example "
            f"{{0: fox}}; it gives {len(class_names)} label(s). For one folder per class set the format to "
            "'imagefolder'"
        )
    root = _one_folder(path, "flat")
    list_folder(root)  # says what is wrong with it, should it be no folder
    (label,) = class_names
    found = [(name, size, label) for name, size in files_below(root) if is_image(name)]
    if not found:
        raise InputError(f"no image in {root}: {what_is_in(root)}")
    return _sources(root, found, class_names)


def _one_folder(path: Path | str | Sequence[str], format: str) -> str:
    if not isinstance(path, Path | str):
        raise InputError(f"format {format!r} takes one folder, not a list: {list(path)}")
    folder = plain(path)
    return folder.rstrip("/") if is_url(folder) else str(Path(folder))


def _sources(root: str, found: Sequence[tuple[str, int, int]], class_names: Mapping[int, str]) -> list[Source]:
    """Return the sources of files given as (name relative to the root, bytes, label)."""
    names = [os.path.splitext(name)[0] for name, _, _ in found]
    keys = unique_keys(names, lambda i: found[i][0], lambda _: root)
    return [
        Source(key, locator=join(root, name), size=size, label=label, class_name=class_names[label])
        for key, (name, size, label) in zip(keys, found, strict=True)
    ]
