"""What a path holds, told by its files: the format of a dataset, the part of it that is for training, its classes."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from augment.errors import InputError
from augment.inputs.chosen_files import choose_files
from augment.inputs.formats import is_hidden
from augment.inputs.label_tables import read_tables
from augment.inputs.listing import some
from augment.inputs.locate import is_url, join, missing, plain
from augment.inputs.manifest_rows import COLUMNS, EXTENSIONS, Problems, read_manifest_rows
from augment.inputs.packaged import packaged_path
from augment.inputs.patterns import expand_files
from augment.inputs.readers import InputFormat
from augment.inputs.splits import OTHER_SPLITS, TRAINING, parts_among
from augment.inputs.walk import files_below, list_folder, only_images, what_is_in

HEAPS = ("images", "image", "imgs", "img", "jpegimages", "pictures", "photos", "data", "dataset")
# What lies beside images in published datasets and is no class of theirs.
BESIDE = (
    *("ground_truth", "groundtruth", "masks", "mask", "annotations", "annotation", "labels", "segmentations", "parts"),
    *("attributes", "bboxes", "boxes", "metadata", "meta", "docs", "lists"),
)
_SPLIT = "|".join((*TRAINING, *OTHER_SPLITS))
_BESIDE_A_SPLIT = re.compile(  # `train_masks`, `annotations_trainval2017`
    rf"(({_SPLIT})[\W_]+)?({'|'.join(BESIDE)})([\W_]+({_SPLIT}).*)?", re.IGNORECASE | re.DOTALL
)
_SPLIT_COLUMN = COLUMNS.index("split")
_NOT_TRAINED_ON = "left alone: what is measured on must not be trained on"


@dataclass(frozen=True)
class Detected:
    """A dataset as its files tell it.

    Attributes:
        path, format, split: for `input.path`, `input.format` and `input.split`.
        splits: parts of the dataset that were seen; of several, the one for training is taken.
        notes: what of the dataset is not taken, one text each.
        remarks: what else was seen, one text each.
        unread: tables beside the images that were not read -> why. They may say the classes.
    """

    path: str | tuple[str, ...]
    format: InputFormat
    split: str | None = None
    splits: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    unread: tuple[tuple[str, str], ...] = ()


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
    if is_url(name) or not os.path.isdir(name):
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
    folder = name.rstrip("/") or name
    found = _of_folder(folder)
    return replace(found, unread=(*_tables_above(folder), *found.unread)) if found.format == "flat" else found


def _of_folder(folder: str) -> Detected:
    entries = {name: size for name, size in sorted(list_folder(folder).items()) if not is_hidden(name)}
    files = [name for name, size in entries.items() if size is not None]
    if tars := [name for name in files if name.lower().endswith(".tar")]:
        return _of_tars(folder, tars)
    manifests, unread = read_tables(folder, files)
    if manifests:
        return _of_named_manifests(folder, manifests, unread)
    found = _of_images(folder, entries)
    return replace(found, unread=(*_located(folder, unread), *found.unread))


def _of_images(folder: str, entries: Mapping[str, int | None]) -> Detected:
    """Return the images of a folder without tars and manifests, which has these files and folders (None)."""
    folders = [name for name, size in entries.items() if size is None]
    if found := _inside(folder, folders):
        return found
    classes = [name for name in folders if name.lower() not in BESIDE]
    if several := _datasets(folder, classes):
        raise InputError(
            f"{folder} holds several datasets, each with a part for training: {some(several)}. Name one of them, for "
            f"example {join(folder, several[0])}"
        )
    loose = only_images(folder, [(name, size) for name, size in entries.items() if size is not None])[0]
    if not loose and classes:
        return Detected(folder, "imagefolder", remarks=_split_like(folder, classes))
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
    parts = parts_among(folders, folders=True)[0]
    training = [name for name, part in parts.items() if part.is_training]
    measured = [name for name in parts if name not in training]
    others = [name for name in folders if name not in parts and not _BESIDE_A_SPLIT.fullmatch(name)]
    if training and (not others or _same_classes(folder, training, measured)):
        exact = [name for name in training if name.lower() in TRAINING] or training
        if len(exact) > 1:
            if exact[0].lower() not in TRAINING and not any(_folders_in(join(folder, name)) for name in exact):
                return None  # `train 1`, `train 2`: these may be classes
            raise InputError(
                f"{folder} holds several folders for training: {some(exact)}. Name one of them, for example "
                f"{join(folder, exact[0])}, or put their images into one"
            )
        found = _of_folder(join(folder, exact[0]))
        further = [name for name in (*training, *others) if name != exact[0]]
        notes = [f"{', '.join(measured)} {_NOT_TRAINED_ON}"] if measured else []
        notes += [f"{some(further)} left out too: what lies beside {exact[0]} is no class"] if further else []
        return replace(found, splits=tuple(parts), notes=(*notes, *found.notes))
    if not parts and len(others) == 1:
        inner = join(folder, others[0])
        # Some archives hold a folder of their own name in one of the same name.
        twice = others[0] == os.path.basename(folder) and any(size is None for size in list_folder(inner).values())
        if others[0].lower() in HEAPS or twice:
            return _of_folder(inner)
    return None


def _same_classes(folder: str, training: Sequence[str], measured: Sequence[str]) -> bool:
    """Return whether folders that are called like splits hold folders of the same name, which are the classes."""
    trained = {name for part in training for name in _folders_in(join(folder, part))}
    return any(trained & _folders_in(join(folder, part)) for part in measured)


def _folders_in(folder: str) -> set[str]:
    return {name for name, size in list_folder(folder).items() if size is None and not is_hidden(name)}


def _split_like(folder: str, classes: Sequence[str]) -> tuple[str, ...]:
    """Return a remark if some of the classes are called like splits. One `train` among boats and buses is a class."""
    parts = parts_among(classes, folders=True)[0]
    training = [name for name, part in parts.items() if part.is_training]
    if not parts or (len(training) == len(parts) and not any(_folders_in(join(folder, name)) for name in training)):
        return ()
    remedy = f"name the one to edit, for example {join(folder, training[0])}" if training else "move them elsewhere"
    return (
        f"{some(list(parts))} among the classes may be splits: if so, {remedy}, because what is measured on must not "
        "be trained on",
    )


def _datasets(folder: str, classes: Sequence[str]) -> list[str]:
    """Return the folders if each of them has a folder for training, as those of MVTec AD do."""
    for name in classes:
        parts = parts_among(_folders_in(join(folder, name)), folders=True)[0]
        kinds = {part.is_training for part in parts.values()}
        # A class may have a folder `train-1`, but hardly one that is called `train`, or one for testing beside it.
        if True not in kinds or not (len(kinds) == 2 or any(part.lower() in TRAINING for part in parts)):
            return []
    return list(classes)


def _tables_above(folder: str) -> tuple[tuple[str, str], ...]:
    """Return the tables beside a folder that is called like a part of a dataset: they may say its classes."""
    above, _, name = folder.rpartition("/")
    if name.lower() not in HEAPS and not parts_among([name], folders=True)[0]:
        return ()
    above = above or ("/" if folder.startswith("/") else ".")
    try:
        files = [name for name, size in list_folder(above).items() if size is not None and not is_hidden(name)]
    except InputError:  # some may be read in a store, and what is above may not
        return ()
    tables = [name for name in sorted(files) if not name.lower().endswith(".json")]  # which many a program writes
    manifests, unread = read_tables(above, tables)
    return _located(above, dict.fromkeys(manifests, "it is a manifest: name it in place of the folder") | unread)


def _located(folder: str, unread: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple((join(folder, name), why) for name, why in unread.items())


def _of_tars(folder: str, tars: Sequence[str]) -> Detected:
    """Return the tars for training, if their names tell the split; otherwise all."""
    chosen = choose_files(tars)
    # All of them may be hundreds of thousands, and a shard that joins them is to be taken.
    path = folder if len(chosen.files) == len(tars) else chosen.path_in(folder, (".tar",))
    left = chosen.splits_measured
    note = (f"tars of {', '.join(left)} {_NOT_TRAINED_ON}",) if left else ()
    notes = (*note, *chosen.notes)
    return Detected(path, "webdataset", splits=chosen.splits, notes=notes, remarks=chosen.remarks)


def _of_named_manifests(folder: str, names: Sequence[str], unread: Mapping[str, str]) -> Detected:
    """Return the manifests for training, if their names tell the split; otherwise all.

    Of several that are, one that is called by nothing but the split is taken alone: `train_small` is a part of `train`.
    """
    exact = [name for name in names if os.path.splitext(name)[0].lower() in TRAINING]
    exact.sort(key=lambda name: EXTENSIONS.index(os.path.splitext(name)[1].lower()))
    beside = [name for name, part in parts_among(names)[0].items() if part.is_training and name not in exact[:1]]
    chosen = choose_files([name for name in names if not (exact and name in beside)])
    lost = [name for name, part in parts_among(unread)[0].items() if part.is_training and _may_be_manifest(name)]
    if lost and chosen.told_by_name and not exact:
        raise InputError(
            f"{join(folder, lost[0])} is not read: {unread[lost[0]]}. Mend it, or name the manifest to take, for "
            f"example {join(folder, chosen.files[0])}"
        )
    found = _of_manifests(chosen.path_in(folder, EXTENSIONS))
    notes = [f"{', '.join(chosen.measured)} {_NOT_TRAINED_ON}"] if chosen.measured else []
    notes += [f"{some(beside)} left out too: {exact[0]} is the manifest for training"] if exact and beside else []
    return replace(
        found,
        splits=chosen.splits or found.splits,
        notes=(*notes, *chosen.notes, *found.notes),
        remarks=chosen.remarks,
        unread=_located(folder, unread),
    )


def _may_be_manifest(name: str) -> bool:
    return name.lower().endswith(EXTENSIONS)


def _of_manifests(path: str | tuple[str, ...]) -> Detected:
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
    note = (f"{', '.join(left)} {_NOT_TRAINED_ON}",) if left else ()
    return Detected(path, "manifest", training[0], tuple(splits), note)
