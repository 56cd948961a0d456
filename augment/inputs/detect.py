"""What a path holds, told by its files: the format of a dataset, the part of it that is for training, its classes."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from augment.errors import InputError
from augment.inputs.formats import is_hidden
from augment.inputs.locate import is_url, join, missing, plain
from augment.inputs.manifest_rows import COLUMNS, EXTENSIONS, Problems, read_manifest_rows
from augment.inputs.packaged import packaged_path
from augment.inputs.patterns import expand_files
from augment.inputs.readers import InputFormat
from augment.inputs.walk import files_below, list_folder, only_images, what_is_in

TRAINING = ("train", "training", "trn")
OTHER_SPLITS = ("val", "valid", "validation", "dev", "eval", "test", "testing", "tst", "holdout")
HEAPS = ("images", "image", "imgs", "img", "jpegimages", "pictures", "photos", "data", "dataset")
# What lies beside images in published datasets and is no class of theirs.
BESIDE = (
    *("ground_truth", "groundtruth", "masks", "mask", "annotations", "annotation", "labels", "segmentations", "parts"),
    *("attributes", "bboxes", "boxes", "metadata", "meta", "docs", "lists"),
)
_SPLIT_NAME = re.compile(rf"^({'|'.join(TRAINING + OTHER_SPLITS)})(?![^\W\d_])", re.IGNORECASE)
_SPLIT_COLUMN = COLUMNS.index("split")


@dataclass(frozen=True)
class Detected:
    """A dataset as its files tell it.

    Attributes:
        path, format, split: for `input.path`, `input.format` and `input.split`.
        splits: parts of the dataset that were seen; of several, the one for training is taken.
        notes: what else was seen, one text each.
    """

    path: str
    format: InputFormat
    split: str | None = None
    splits: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=())


def detect_dataset(path: str) -> Detected:
    """Return what a path holds. Images are not read.

    Args:
        path: folder, tar, manifest, pattern of these, URL, or the name of a packaged dataset.

    Raises:
        InputError: if there is nothing that is read, or several datasets.
    """
    if packaged_path(path) is not None:
        return Detected(path, "webdataset")
    name = plain(path)
    ending = os.path.splitext(name)[1].lower()
    if ending == ".tar":
        return Detected(path, "webdataset")
    if ending in EXTENSIONS:
        return _of_manifests(path)
    if not is_url(name) and not os.path.exists(name):
        raise InputError(missing(name))
    if not is_url(name) and not os.path.isdir(name):
        raise InputError(
            f"{path} is no dataset: a folder of images, .tar files, or a manifest ({', '.join(EXTENSIONS)}) is one; "
            "unpack an archive first"
        )
    return _of_folder(name.rstrip("/") or name)


def _of_folder(folder: str) -> Detected:
    entries = {name: size for name, size in sorted(list_folder(folder).items()) if not is_hidden(name)}
    files = [name for name, size in entries.items() if size is not None]
    if tars := [name for name in files if name.lower().endswith(".tar")]:
        return _of_tars(folder, tars)
    if manifests := [name for name in files if name.lower().endswith(EXTENSIONS) and _is_manifest(join(folder, name))]:
        return _of_named_manifests(folder, manifests)
    folders = [name for name, size in entries.items() if size is None]
    if found := _inside(folder, folders):
        return found
    classes = [name for name in folders if name.lower() not in BESIDE]
    if several := _datasets(folder, classes):
        raise InputError(
            f"{folder} holds several datasets, each with a part for training: {', '.join(several[:5])}"
            f"{', ...' if len(several) > 5 else ''}. Name one of them, for example {join(folder, several[0])}"
        )
    loose = only_images(folder, [(name, entries[name] or 0) for name in files])[0]
    if not loose and classes:
        return Detected(folder, "imagefolder")
    if loose and any(only_images(join(folder, name), files_below(join(folder, name))[0])[0] for name in classes):
        raise InputError(
            f"{folder} holds {len(loose)} image(s), the first is {sorted(loose)[0][0]}, beside folders of images "
            f"({', '.join(classes[:3])}{', ...' if len(classes) > 3 else ''}), so their class is not known: put every "
            "image into a folder named after its class"
        )
    if loose:
        return Detected(folder, "flat")
    raise InputError(f"no image in {folder}: {what_is_in(folder)}")


def _inside(folder: str, folders: Sequence[str]) -> Detected | None:
    """Return the dataset in the folder for training, or in one like `images`; None if the folders are classes."""
    by_name = {name.lower(): name for name in folders}
    splits = [name for lower, name in by_name.items() if lower in TRAINING + OTHER_SPLITS]
    others = [lower for lower in by_name if lower not in TRAINING + OTHER_SPLITS + BESIDE]
    training = [name for name in splits if name.lower() in TRAINING]
    if training and not others:
        found = _of_folder(join(folder, training[0]))
        left = [name for name in splits if name != training[0]]
        note = [f"{', '.join(left)} left alone: what is measured on must not be trained on"] if left else []
        return replace(found, splits=tuple(splits), notes=(*note, *found.notes))
    heaps = [by_name[lower] for lower in others if lower in HEAPS]
    if len(heaps) == 1 and len(others) == 1 and not splits:
        return _of_folder(join(folder, heaps[0]))
    return None


def _datasets(folder: str, classes: Sequence[str]) -> list[str]:
    """Return the folders if each of them has a folder for training, as those of MVTec AD do."""
    for name in classes:
        inside = [each.lower() for each, size in list_folder(join(folder, name)).items() if size is None]
        if not set(inside) & set(TRAINING):
            return []
    return list(classes)


def _of_tars(folder: str, tars: Iterable[str]) -> Detected:
    """Return the tars of the training split, if their names begin with those of splits; otherwise all."""
    splits = {name: match.group(1) for name in tars if (match := _SPLIT_NAME.match(name))}
    chosen = [split for split in splits.values() if split.lower() in TRAINING]
    seen = tuple(dict.fromkeys(splits.values()))
    if not chosen or len(seen) < 2:
        return Detected(folder, "webdataset", splits=seen)
    left = ", ".join(split for split in seen if split != chosen[0])
    note = f"tars of {left} left alone: what is measured on must not be trained on"
    return Detected(join(folder, f"{chosen[0]}*.tar"), "webdataset", splits=seen, notes=(note,))


def _is_manifest(file: str) -> bool:
    """Return whether a table has the columns of a manifest; others are lists that came with the images."""
    try:
        return next(read_manifest_rows(file, Problems()), None) is not None
    except InputError:
        return False


def _of_named_manifests(folder: str, names: Sequence[str]) -> Detected:
    """Return the manifest for training if its name says so, or all of them."""
    splits = {name: match.group(1) for name in names if (match := _SPLIT_NAME.match(name))}
    training = [name for name, split in splits.items() if split.lower() in TRAINING]
    if not training:
        return _of_manifests(join(folder, names[0]) if len(names) == 1 else folder)
    found = _of_manifests(join(folder, training[0]))
    left = [name for name in names if name != training[0]]
    note = [f"{', '.join(left)} left alone: what is measured on must not be trained on"] if left else []
    return replace(found, splits=tuple(splits.values()), notes=(*note, *found.notes))


def _of_manifests(path: str) -> Detected:
    """Return manifests, with the split for training if they have a column for it."""
    files, problems = expand_files(path, EXTENSIONS, "manifests")[0], Problems()
    counts = Counter(
        str(row[_SPLIT_COLUMN]).strip()
        for file in files
        for _, row in read_manifest_rows(file, problems)
        if row[_SPLIT_COLUMN] not in (None, "")
    )
    problems.raise_any()
    splits = sorted(counts)
    training = [split for split in splits if split.lower() in TRAINING]
    if not training:
        return Detected(path, "manifest", splits=tuple(splits))
    left = [f"{counts[split]} rows of {split}" for split in splits if split != training[0]]
    note = (f"{', '.join(left)} left alone: what is measured on must not be trained on",) if left else ()
    return Detected(path, "manifest", training[0], tuple(splits), note)
