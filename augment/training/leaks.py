"""The leak guard: nothing of val or test, and no edit of it, is trained on."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from augment.errors import ImageError, InputError, LeakError
from augment.inputs.class_words import ClassNames
from augment.inputs.detect import detect_dataset
from augment.inputs.images import decode_image
from augment.inputs.near_duplicates import difference_hash, looks_like, near_pairs, small_version
from augment.inputs.packaged import packaged_path
from augment.inputs.readers import list_as_named, read_bytes
from augment.training.data import TrainingSets
from augment.training.edit_records import SOURCE_SHA256
from augment.types import Source

_SHOWN = 10
_REMEDY = (
    "Take these pictures out of the one or the other, and what was made of them out of the synthetic ones: expand only "
    "pictures that are trained on"
)
_IF_NO_VERSIONS = (
    ". If what is called another version here is another picture that looks the same, `leaks.near_duplicates: false` "
    "asks for equal files and edits of them only"
)
_SMALL_KEPT = 2**16  # small versions, of 3 kB each


@dataclass(frozen=True)
class _Seen:
    """A picture with its set, the sha256 of its file and, if wanted, its difference hash."""

    where: str
    source: Source
    sha256: str
    hash: int

    @property
    def name(self) -> str:
        return f"{self.where} {self.source.place}"


def check_leaks(sets: TrainingSets, near_duplicates: bool) -> None:
    """Refuse pictures to train on that are in val or test, or were made of one that is; and pictures of val in test.

    What is equal is known by the sha256 of the files, and of edits by the sha256 of the source in their record.

    Args:
        near_duplicates: also refuse other versions of a picture (see `augment.inputs.near_duplicates`), edits included.

    Raises:
        LeakError: if there are such pictures; the message names them.
        InputError: if an edit does not name its source; with `near_duplicates`, if pictures are damaged.
    """
    held = [("val", sets.val), ("test", sets.test)]
    real = sets.real or sets.passed_over  # what edits of another version of a picture were made of
    _refuse(held, [("real", real), ("synthetic", sets.synthetic)], "val or test", near_duplicates)


def refuse_held_out(held_out: Sequence[Path | str], real: Sequence[str] = (), synthetic: Sequence[str] = ()) -> None:
    """Refuse shards with a picture of the datasets held out, or with an edit of one.

    What is equal is known by the sha256 of the files, so every picture is read once, and none is decoded. Other
    versions of a picture are for `augment train` to find.

    Args:
        held_out: datasets that are measured on: a folder, a tar or a manifest each, also as a URL.
        real, synthetic: shards to train on; the samples of synthetic ones are edits of `augment expand`.

    Raises:
        LeakError: if there are such pictures; the message names them.
        InputError: if a dataset cannot be listed, or an edit does not name its source.
    """
    held = [("held out", _held_out(str(path))) for path in held_out]
    trained = [
        (name, list_as_named(shards, "webdataset", {}).sources)
        for name, shards in (("real", real), ("synthetic", synthetic))
        if shards
    ]
    _refuse(held, trained, "what is held out", near_duplicates=False)


def _held_out(path: str) -> list[Source]:
    """List a dataset, whatever it is. Raises InputError if only a part of it would be."""
    found = detect_dataset(path)
    if found.notes:
        raise InputError(f"held_out: {path} holds several splits, name the files of the right one ({found.notes[0]})")
    class_names: ClassNames = {0: "picture"} if found.format == "flat" else {}
    return list_as_named(packaged_path(found.path) or found.path, found.format, class_names, found.split).sources


def _refuse(
    held_sets: Sequence[tuple[str, Sequence[Source]]],
    trained_sets: Sequence[tuple[str, Sequence[Source]]],
    what: str,
    near_duplicates: bool,
) -> None:
    problems: list[str] = []
    held = _look(held_sets, near_duplicates, problems)
    trained = _look(trained_sets, near_duplicates, problems)
    if problems:
        raise InputError(f"{len(problems)} pictures cannot be used. Mend them, or take them out:{_lines(problems)}")
    leaks, alike = dict(_equal(held, trained)), dict[str, str]()
    if near_duplicates:
        seen = [*trained, *held]

        @functools.lru_cache(_SMALL_KEPT)
        def small(place: int) -> np.ndarray:
            return small_version(decode_image(read_bytes(seen[place].source)))

        for i, j in near_pairs([picture.hash for picture in trained], [picture.hash for picture in held]):
            key = trained[i].name
            if key not in leaks and key not in alike and looks_like(small(i), small(len(trained) + j)):
                alike[key] = f"{key} is another version of {held[j].name}"
        leaks |= alike
    _refuse_chosen_on_test(held)
    if leaks:
        count = "1 picture" if len(leaks) == 1 else f"{len(leaks)} pictures"
        remedy = f"{_REMEDY}{_IF_NO_VERSIONS if alike else ''}"
        raise LeakError(f"{count} of {what} would be trained on. {remedy}:{_lines(list(leaks.values()))}")


def _look(sets: Sequence[tuple[str, Sequence[Source]]], decode: bool, problems: list[str]) -> list[_Seen]:
    found = []
    for where, sources in sets:
        for source in sources:
            data = read_bytes(source)
            value = 0
            if decode:
                try:
                    value = difference_hash(decode_image(data))
                except ImageError as error:
                    problems.append(f"{where} {source.place}: {error}")
                    continue
            found.append(_Seen(where, source, hashlib.sha256(data).hexdigest(), value))
    return found


def _equal(held: Sequence[_Seen], trained: Sequence[_Seen]) -> Iterator[tuple[str, str]]:
    """Yield the names of pictures that are equal to one in `held`, or made of one, each with what it is."""
    of_digest = {picture.sha256: picture for picture in held}
    for picture in trained:
        if picture.where == "synthetic":
            made_of = picture.source.attributes.get(SOURCE_SHA256)
            if not made_of:
                raise InputError(
                    f"{picture.name}: its .json has no {SOURCE_SHA256}, so it cannot be known what it was made of; "
                    "data.synthetic takes the output of `augment expand`"
                )
            if source := of_digest.get(made_of):
                yield picture.name, f"{picture.name} was made of {source.name}"
                continue
        if same := of_digest.get(picture.sha256):
            yield picture.name, f"{picture.name} is the same file as {same.name}"


def _refuse_chosen_on_test(held: Sequence[_Seen]) -> None:
    """Raise LeakError if a picture of val is in test too: val chooses the checkpoint, which test is to judge."""
    of_test = {picture.sha256: picture for picture in held if picture.where == "test"}
    both = [
        (picture, of_test[picture.sha256]) for picture in held if picture.where == "val" and picture.sha256 in of_test
    ]
    if both:
        of_val = sum(picture.where == "val" for picture in held)
        lines = [f"{picture.name} is the same file as {same.name}" for picture, same in both]
        raise LeakError(
            f"{len(both)} of the {of_val} pictures of val are in test too, so test would choose what it is to judge: "
            f"take them out of data.val or data.test, or leave data.test out:{_lines(lines)}"
        )


def _lines(lines: Sequence[str]) -> str:
    more = [f"... and {len(lines) - _SHOWN} more"] if len(lines) > _SHOWN else []
    return "".join(f"\n  {line}" for line in [*lines[:_SHOWN], *more])
