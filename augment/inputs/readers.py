"""Datasets, on disk or in a store, listed as sorted `Source` rows; and the bytes of one of them.

Listing looks at names, at small texts (manifests, the text members of tars) and at the first bytes of files whose names
say nothing, never at pixels: a damaged image is listed like any other, and becomes an error row where it is decoded.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from operator import attrgetter
from pathlib import Path
from typing import Literal

from augment.errors import InputError, UnreachableError
from augment.inputs.class_words import ClassNames, by_label, given_words, nearest_key, without_numbers
from augment.inputs.folders import list_flat_folder, list_image_folder
from augment.inputs.listing import Listing, by_count
from augment.inputs.locate import read_file
from augment.inputs.manifest import list_manifest
from augment.inputs.shard_listing import list_shards, read_member
from augment.types import Source

logger = logging.getLogger(__name__)
PAUSE_SECONDS, PATIENCE_SECONDS = 5.0, 60.0  # while a store does not answer: somebody may be waiting for an error
InputFormat = Literal["imagefolder", "webdataset", "manifest", "flat"]
_HOW_TO_NAME = {
    "webdataset": ", or put class_name into the json of the samples",
    "manifest": ", or write names into the column label, not indices",
}


def list_sources(
    path: Path | str | Sequence[str],
    format: InputFormat,
    class_names: ClassNames | None = None,
    split: str | None = None,
    columns: Sequence[str] = (),
    *,
    masks: bool = False,
) -> Listing:
    """List a dataset, its images sorted by key, and count what is left out.

    Keys come from the path inside the dataset, or from the record's key, and match `[A-Za-z0-9_/-]+`. A name with other
    characters, or one that several images share, gets eight hexadecimal digits of a hash of its full name appended.

    Args:
        path: local, or a URL that fsspec knows. For `imagefolder`, a folder with one folder per class (label = place in
            the sorted list of classes); for `flat`, a folder with images of one class; for `webdataset`, tars with an
            image, `cls`, and optionally `txt` (caption) and `json` (`class_name`; every other text value is an
            attribute); for `manifest`, .csv, .jsonl or .parquet files, see `augment.inputs.manifest`. The last two take
            a file, a folder of such files, a pattern with `*` or `{000..009}`, or a list of these.
        format: which of the four.
        class_names: the word for every class, by its label or by what the dataset calls it (a folder's name, say),
            instead of what the dataset calls them. Labels stay as they are.
        split: only the rows of a manifest that have this in the column `split`.
        columns: further columns of a manifest, whose values become attributes; of tars all text values are.
        masks: list the masks of the images, too: the member `mask.png` of a tar's samples, the column `mask` of a
            manifest. The other formats have none.

    Class folders that all begin with a number and a dot, a hyphen or an underscore (`001.Black_footed_Albatross`) are
    called by the rest of their name, unless `class_names` says otherwise.

    Raises:
        InputError: if the path is missing, holds no image, or holds something whose class is not known.
    """
    if split is not None and format != "manifest":
        raise InputError(f"input.split is {split!r}, but only the format 'manifest' has splits; leave it out")
    given: ClassNames = class_names or {}
    listing = list_as_named(path, format, given, split, columns, masks=masks)
    _name_classes(listing.sources, given, format)
    listing.sources.sort(key=attrgetter("key"))
    return Listing(listing.sources, by_count(listing.left_out))


def list_as_named(
    path: Path | str | Sequence[str],
    format: InputFormat,
    class_names: ClassNames,
    split: str | None = None,
    columns: Sequence[str] = (),
    *,
    masks: bool = False,
) -> Listing:
    """List a dataset, in no order, with the names that it has for its classes: "" where it has none.

    Args:
        path, format, split, columns, masks: as for `list_sources`.
        class_names: gives the class of the format `flat`, and of a manifest whose names are words for labels.

    A store that does not answer is asked again, every `PAUSE_SECONDS` for up to `PATIENCE_SECONDS`.

    Raises:
        InputError: as `list_sources`.
        UnreachableError: if the store does not answer for so long.
    """
    began = time.monotonic()
    while True:
        try:
            return _listed_once(path, format, class_names, split, columns, masks=masks)
        except UnreachableError as error:
            if time.monotonic() - began > PATIENCE_SECONDS:
                raise
            logger.warning("the input does not answer, it is listed again: %s", error)
        time.sleep(PAUSE_SECONDS)


def _listed_once(
    path: Path | str | Sequence[str],
    format: InputFormat,
    class_names: ClassNames,
    split: str | None,
    columns: Sequence[str],
    *,
    masks: bool,
) -> Listing:
    if format == "imagefolder":
        return list_image_folder(path)
    if format == "flat":
        return list_flat_folder(path, by_label(class_names))
    if format == "webdataset":
        return list_shards(path, masks=masks)
    if format == "manifest":
        return list_manifest(path, class_names, split, columns, masks=masks)
    raise InputError(f"unknown input format {format!r}; known are 'imagefolder', 'webdataset', 'manifest' and 'flat'")


def read_bytes(source: Source) -> bytes:
    """Return the content of a source's image file, as it is stored. Several threads may call it at once.

    Raises:
        InputError: if it is no longer there, or no longer readable.
    """
    return _read(source.locator, source.size)


def read_mask(source: Source) -> bytes:
    """Return the content of a source's mask file, as it is stored; b"" for a source without one.

    Raises:
        InputError: if it is no longer there, or no longer readable.
    """
    return _read(source.mask, source.mask_size) if source.mask else b""


def _read(locator: str, size: int) -> bytes:
    return read_member(locator, size) if ".tar::" in locator else read_file(locator)


def _name_classes(sources: list[Source], given: ClassNames, format: InputFormat) -> None:
    """Set the class names of the sources, in place: those given, or else those that came with the dataset."""
    own = {s.label: s.class_name for s in sources if s.class_name}
    names = given_words(given, own) if given else without_numbers(own) if format == "imagefolder" else own
    if nameless := sorted({s.label for s in sources} - names.keys()):
        labels = ", ".join(f"{label} ({own[label]!r})" if label in own else f"{label}" for label in nameless[:10])
        found = "input.class_names lacks" if given else "the dataset has no name for"
        raise InputError(
            f"{found} the label(s) {labels}{' ...' if len(nameless) > 10 else ''}, and a prompt needs a word"
            f"{nearest_key(given, own.get(nameless[0], ''))}. Give input.class_names a name for every label, for "
            f"example {{{own.get(nameless[0], nameless[0])}: fox}}{_HOW_TO_NAME.get(format, '')}"
        )
    for i, source in enumerate(sources):
        if source.class_name != names[source.label]:
            sources[i] = replace(source, class_name=names[source.label])
