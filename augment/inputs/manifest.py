"""A manifest: a table with a row per image, as .csv, .jsonl or .parquet.

    path    where the image is: relative to the manifest's folder, absolute, or a URL
    label   a class index, or a class name, all rows alike; a name's index is its place in the sorted list of names
    prompt  optional: a caption of the image
    split   optional: the part of the dataset that it belongs to
    id      optional: its key; without one that is made from the path
    size    optional: bytes; without them local files are asked, and remote ones count as 0
    mask    optional: where the mask of the object is, as in `path`; only if masks are asked for

Other columns are ignored, unless the caller asks for them. An image that is not there is no error here: it becomes an
error row when it is read.
"""

from __future__ import annotations

import difflib
import logging
import os
import posixpath
from array import array
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from augment.errors import InputError
from augment.inputs.class_words import ClassNames, by_label
from augment.inputs.keys import unique_keys
from augment.inputs.listing import OTHER_SPLIT, Listing
from augment.inputs.locate import absolute, file_size, is_url, relative_names
from augment.inputs.manifest_rows import EXTENSIONS, Problems, read_manifest_rows
from augment.inputs.manifest_values import (
    BY_FULL_PATH,
    BY_ID,
    BY_PATH,
    is_unlabelled,
    label_value,
    path_value,
    size_value,
    text_value,
)
from augment.inputs.patterns import expand_files
from augment.inputs.splits import OTHER_SPLITS
from augment.types import Source

logger = logging.getLogger(__name__)
_SHOWN = 10
_MASK = "mask"  # a further column
_NO_ATTRIBUTES: dict[str, str] = {}  # shared by all sources: a million empty ones would be 60 MB


def list_manifest(
    path: Path | str | Sequence[str],
    class_names: ClassNames,
    split: str | None,
    columns: Sequence[str] = (),
    *,
    masks: bool = False,
) -> Listing:
    """List the images that some manifests name, in no order. The class name is empty where only an index is given.

    Args:
        path: a manifest, a folder of them, a pattern, or a list.
        class_names: if all keys are labels, the names in the manifest are looked up among the words. Keys that are
            names give words for these; then the names' order gives the labels, as it does without `class_names`.
        split: only the rows of this split. The others still count where labels are places in a list of names, and need
            no label. Without it all rows are taken; if some of them are of a split that is measured on, that is logged.
        columns: further columns, whose values become attributes of the sources.
        masks: read the column `mask`, too.

    Raises:
        InputError: with the first ten of the problems, if any row has one; or if there is no row.
    """
    table = _Table(expand_files(path, EXTENSIONS, "manifests")[0], columns, masks)
    table.read(split)
    index = table.class_index(class_names)
    keys = unique_keys(table.names, table.full_name, table.where)
    table.check_places()
    table.names.clear()
    sources = []
    for row, (key, locator, label, prompt, size) in enumerate(
        zip(keys, table.locators, table.labels, table.prompts, table.sizes, strict=True)
    ):
        if size < 0:
            size = _bytes_of(locator)
        class_name = label if isinstance(label, str) else ""
        attributes = table.attributes[row] if columns else _NO_ATTRIBUTES
        sources.append(Source(key, locator, size, index[label], class_name, prompt, attributes))
    if masks:
        sources = [replace(s, mask=m, mask_size=_bytes_of(m)) for s, m in zip(sources, table.masks, strict=True)]
    return Listing(sources, {OTHER_SPLIT: table.of_other_splits})


class _Table:
    """The rows of all manifests, as columns: a million rows with an object each would not fit into a gigabyte.

    Attributes:
        names: id, or path without extension. locators: where the images are. prompts: or "".
        labels: an index or a name, as given. sizes: bytes, -1 if not given.
        attributes: the further columns that are wanted, by name; empty if there are none.
        masks: where the masks are, or ""; empty if they are not wanted.
        of_other_splits: number of rows that were left out.
    """

    def __init__(self, files: Sequence[str], columns: Sequence[str] = (), masks: bool = False) -> None:
        self.names: list[str] = []
        self.locators: list[str] = []
        self.labels: list[int | str] = []
        self.prompts: list[str] = []
        self.sizes: list[int] = []
        self.attributes: list[dict[str, str]] = []
        self.masks: list[str] = []
        self.of_other_splits = 0
        self._files, self._columns, self._mask = files, columns, (_MASK,) if masks else ()
        self._folders = [file.rpartition("/")[0] if is_url(file) else os.path.dirname(file) for file in files]
        self._short_folders = [posixpath.dirname(name) for name in relative_names(files)]
        self._first_rows: list[int] = []  # the first row of each file
        self._lines = array("L")
        self._kinds = array("b")
        self._parsed: dict[int | str, int | str] = {}  # labels as written -> as meant
        self._label_at: dict[int | str, str] = {}  # every label of every split -> where it is first

    def read(self, split: str | None) -> None:
        """Add the rows of all files. Raises InputError with what is wrong with them."""
        problems, splits = Problems(), set[str]()
        for number, file in enumerate(self._files):
            self._first_rows.append(len(self.names))
            for line, values in read_manifest_rows(file, problems, (*self._columns, *self._mask)):
                try:
                    splits.add(self._add(number, line, values, split))
                except ValueError as error:
                    problems.add(file, line, str(error))
        problems.raise_any()
        if not self.names:
            where = f"{len(self._files)} manifest(s), the first is {self._files[0]}"
            if not splits:
                raise InputError(f"no row in {where}")
            there = ", ".join(map(repr, sorted(splits)[:_SHOWN]))
            raise InputError(f"input.split: no row has the split {split!r} in {where}; there is {there}")
        measured = sorted(name for name in splits if name.lower() in OTHER_SPLITS)
        if split is None and 0 < len(measured) < len(splits):
            others = ", ".join(map(repr, sorted(splits.difference(measured, [""]))[:_SHOWN]))
            logger.warning(
                "warning: %s: rows of %s are used like all others, because no split is chosen: if they are measured "
                "on, set the key `split` beside the key `path`%s",
                self._files[0],
                ", ".join(map(repr, measured)),
                f" to the one that is meant; there is also {others}" if others else "",
            )

    def class_index(self, given: ClassNames) -> dict[int | str, int]:
        """Return class indices by label, as a row gives it.

        Raises:
            InputError: if some rows give an index and some a name, or a name is not among those given.
        """
        names = sorted(label for label in self._label_at if isinstance(label, str))
        indices = [label for label in self._label_at if isinstance(label, int)]
        if names and indices:
            raise InputError(
                f"the label is an index, {indices[0]}, at {self._label_at[indices[0]]}, but a name, {names[0]!r}, at "
                f"{self._label_at[names[0]]}; give all rows the one or the other"
            )
        labelled = by_label(given)
        if indices or len(labelled) < len(given) or not given:
            return {index: index for index in indices} | {name: place for place, name in enumerate(names)}
        by_name = {name: label for label, name in labelled.items()}
        if len(by_name) < len(labelled):
            raise InputError(
                "input.class_names gives two labels one name; then the manifest must give labels, not names"
            )
        if unknown := [name for name in names if name not in by_name]:
            lines = []
            for name in unknown[:_SHOWN]:
                near = difflib.get_close_matches(name, by_name, 1)
                lines.append(f"{self._label_at[name]}: {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
            raise InputError("\n  ".join([f"{len(unknown)} label(s) that input.class_names does not have:", *lines]))
        return {name: by_name[name] for name in names}

    def full_name(self, row: int) -> str:
        """Return what tells the image of a row from every other image."""
        locator, file = self.locators[row], self._file(row)
        if self._kinds[row] == BY_ID:
            return self.names[row]
        if self._kinds[row] == BY_FULL_PATH:
            return locator
        return posixpath.join(self._short_folders[file], locator[len(self._folders[file]) :].lstrip("/"))

    def check_places(self) -> None:
        """Raise InputError if two rows without an id name one image in two ways, as `a.png` and `/data/a.png`."""
        if len({*self._kinds} - {BY_ID}) < 2 and not any("../" in locator for locator in self.locators):
            return  # then two names are two places
        first_at: dict[str, int] = {}
        for row, locator in enumerate(self.locators):
            place = absolute(locator)
            if self._kinds[row] != BY_ID and (first := first_at.setdefault(place, row)) != row:
                raise InputError(
                    f"{self.where(first)} and {self.where(row)} name one image, {place}; remove one of the rows, or "
                    "give each an id if the image is wanted twice"
                )

    def where(self, row: int) -> str:
        """Return file and line of a row, as `file:line`."""
        return f"{self._files[self._file(row)]}:{self._lines[row]}"

    def _locator(self, file: int, path: str, kind: int) -> str:
        return f"{self._folders[file]}/{path}" if kind == BY_PATH and self._folders[file] else path

    def _file(self, row: int) -> int:
        return bisect_right(self._first_rows, row) - 1

    def _add(self, file: int, line: int, values: Sequence[Any], split: str | None) -> str:
        """Add a row, unless it is of another split than that wanted. Returns its split; raises ValueError."""
        path, label, prompt, row_split, name, size, *more = values
        row_split = text_value(row_split, "split")
        if split is not None and row_split != split:
            if not is_unlabelled(label):
                self._label(label, file, line)
            self.of_other_splits += 1
            return row_split
        label = self._label(label, file, line)
        path, kind = path_value(path)
        locator = self._locator(file, path, kind)
        if name := text_value(name, "id"):
            kind = BY_ID
        else:
            name = os.path.splitext(path.partition("://")[2] or path)[0]
        prompt, size = text_value(prompt, "prompt"), size_value(size)
        mask = more.pop() if self._mask else None
        masks = [self._locator(file, *path_value(mask)) if mask else ""] if self._mask else []
        attributes = {column: text_value(value, column) for column, value in zip(self._columns, more, strict=True)}
        # Nothing is added before all is known to be well: the columns must stay equally long.
        self.names.append(name.strip("/") or "_")
        self.locators.append(locator)
        self.labels.append(label)
        self.prompts.append(prompt)
        self.sizes.append(size)
        self.masks += masks
        if attributes:
            self.attributes.append(attributes)
        self._lines.append(line)
        self._kinds.append(kind)
        return row_split

    def _label(self, value: Any, file: int, line: int) -> int | str:
        parsed = self._parsed.get(value) if type(value) in (int, str) else None
        if parsed is None:
            parsed = self._parsed[value] = label_value(value)
            self._label_at.setdefault(parsed, f"{self._files[file]}:{line}")
        return parsed


def _bytes_of(locator: str) -> int:
    return 0 if not locator or is_url(locator) else file_size(locator)
