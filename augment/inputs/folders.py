"""Folders of images: one folder per class, or one class in all."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from augment.errors import InputError
from augment.inputs.formats import HIDDEN, is_hidden
from augment.inputs.keys import unique_keys
from augment.inputs.listing import Listing
from augment.inputs.locate import is_url, join, plain
from augment.inputs.walk import File, files_below, list_folder, only_images, what_is_in
from augment.types import Source


def list_image_folder(path: Path | str | Sequence[str]) -> Listing:
    """List the images of a folder with one folder per class, in no order; a label is an index into the sorted classes.

    Raises:
        InputError: if there is no such folder, no image in it or in a class, or an image outside of the classes.
    """
    root = _one_folder(path, "imagefolder")
    classes, left_out = _classes(root)
    label_of: dict[str, int] = {}
    files: list[File] = []
    for label, class_name in enumerate(classes):
        below, others = files_below(join(root, class_name))
        files += [(f"{class_name}/{name}", size) for name, size in below]
        label_of[class_name] = label
        left_out += others
    images, others = only_images(root, files)
    left_out += others
    found = [(name, size, label_of[name.partition("/")[0]]) for name, size in images]
    if not found:
        raise InputError(f"no image in {root}: {what_is_in(root)}")
    if empty := [classes[label] for label in sorted(set(range(len(classes))) - {label for _, _, label in found})]:
        raise InputError(
            f"{root}: no image in the class folder(s) {', '.join(empty)}; remove or fill them, because labels are "
            "places in the sorted list of class folders"
        )
    return Listing(_sources(root, found, dict(enumerate(classes))), left_out)


def _classes(root: str) -> tuple[list[str], Counter[str]]:
    """Return the sorted class folders, and counts of what else lies beside them."""
    entries = list_folder(root)
    visible = {name: size for name, size in sorted(entries.items()) if not is_hidden(name)}
    classes = [name for name, size in visible.items() if size is None]
    beside = [(name, size) for name, size in visible.items() if size is not None]
    if broken := [name for name, _ in beside if not is_url(root) and not os.path.exists(join(root, name))]:
        raise InputError(
            f"{root}: {broken[0]} is a link that leads nowhere; mend or remove it, because labels are places in the "
            "sorted list of class folders"
        )
    loose, left_out = only_images(root, beside)
    if loose:
        raise InputError(
            f"{root}: {len(loose)} image file(s) outside any class folder, the first is {loose[0][0]}; "
            "put every image into a folder named after its class"
        )
    if foreign := [name for name in classes if any("\udc80" <= char <= "\udcff" for char in name)]:
        raise InputError(f"{root}: the name of the class folder {foreign[0]!r} is not UTF-8, so no prompt; rename it")
    return classes, left_out + Counter({HIDDEN: len(entries) - len(visible)})


def list_flat_folder(path: Path | str | Sequence[str], class_names: Mapping[int, str]) -> Listing:
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
    files, left_out = files_below(root)
    images, others = only_images(root, files)
    if not images:
        raise InputError(f"no image in {root}: {what_is_in(root)}")
    return Listing(_sources(root, [(name, size, label) for name, size in images], class_names), left_out + others)


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
