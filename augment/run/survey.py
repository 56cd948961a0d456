"""A look at a dataset that nobody has described yet: its format, classes, words, sizes, captions and splits."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from augment.config.paths import expand_path
from augment.errors import InputError
from augment.inputs.appearance import Appearance, appearance_of
from augment.inputs.detect import BESIDE, OTHER_SPLITS, TRAINING, Detected, detect_dataset
from augment.inputs.listing import left_out_text, some
from augment.inputs.locate import plain
from augment.inputs.packaged import packaged_path
from augment.inputs.readers import list_as_named
from augment.prompts.readable import readable_word, readable_words
from augment.prompts.words import is_code, word_key
from augment.types import Source

_SHOWN = 8
_NOT_TELLING = (*TRAINING, *OTHER_SPLITS, "images", "imgs", "data", "dataset")  # of what a dataset shows


@dataclass(frozen=True)
class Survey:
    """What was seen of a dataset.

    Attributes:
        dataset: as it was named.
        detected: where its images for training are.
        counts: key of a class -> its images. The key is the dataset's own name for it, or its label if it has none.
        words: key of a class -> the words for it in prompts.
        captions: images with a caption of their own.
        attributes: what tars say about the scenes of their images.
        appearance: what the pictures look like.
        left_out: kind -> number of the files that are not among the images.
    """

    dataset: str
    detected: Detected
    counts: Mapping[str, int]
    words: Mapping[str, str]
    captions: int
    attributes: frozenset[str]
    appearance: Appearance
    left_out: Mapping[str, int]

    @property
    def images(self) -> int:
        """Return the number of images."""
        return sum(self.counts.values())

    @property
    def codes(self) -> list[str]:
        """Return the keys of the classes that have no word, but a code or a number."""
        return [key for key, word in self.words.items() if is_code(word)]

    @property
    def name(self) -> str:
        """Return what a person would call the dataset: the last name in its path that is not one like `train`."""
        parts = [part for part in plain(self.dataset).replace(":", "/").split("/") if part not in ("", ".", "..")]
        parts = parts or os.getcwd().split("/")
        telling = [part for part in parts[-3:] if part.lower() not in _NOT_TELLING]
        return os.path.splitext((telling or parts)[-1])[0]

    def notes(self) -> Iterator[str]:
        """Yield what else to know about the dataset, one text each."""
        yield from (*self.detected.notes, *self.detected.remarks)
        if tables := [f"{table} ({why})" for table, why in self.detected.unread]:
            yield f"not read: {_some(tables)}"
        changed = {key: word for key, word in self.words.items() if key != word and not is_code(word)}
        if self.codes:
            yield (
                f"{len(self.codes)} of {len(self.words)} classes are called by codes or numbers, which say nothing "
                f"to a model: write their words into input.class_names ({_some(self.codes)})"
            )
        if changed:
            yield "class words cleaned: " + _some([f"{key} -> {word}" for key, word in changed.items()])
        shared = [word for word, count in Counter(map(word_key, self.words.values())).items() if count > 1]
        if shared and len(self.words) > 1:
            yield f"several classes have one word, so tell them apart in input.class_names: {_some(shared)}"
        if beside := [key for key in self.words if key.lower() in BESIDE]:
            yield f"{_some(beside)} looks like no class: move it out of the dataset's folder if it is none"
        if self.captions:
            yield f"{self.captions} of {self.images} images have a caption, which is their source prompt"
        if left_out := left_out_text(self.left_out):
            yield f"left out: {left_out}"

    def lines(self) -> list[str]:
        """Return what was seen as lines for a person."""
        classes = _some([f"{self.words[key]} {count}" for key, count in self.counts.items()])
        split = f", the split {self.detected.split}" if self.detected.split else ""
        sizes = self.appearance.sizes
        if not sizes:
            seen = "not known"
        else:
            (width, height), (small, low), (large, high) = sizes[len(sizes) // 2], sizes[0], sizes[-1]
            seen = f"{width}x{height} in the middle, from {small}x{low} to {large}x{high} ({len(sizes)} looked at)"
        return [
            f"dataset         {_place(self.detected)}: {self.detected.format}{split}",
            f"images          {self.images} of {len(self.counts)} classes: {classes}",
            f"sizes           {seen}",
            *([f"splits          {', '.join(self.detected.splits)}"] if self.detected.splits else []),
        ]


def survey(dataset: str) -> Survey:
    """Look at a dataset: at its listing, at the headers of some images, and at the pixels of a few.

    Args:
        dataset: folder, tar, manifest, pattern or URL, with `~` and `$VARIABLES`.

    Raises:
        InputError: if there is no dataset, or its classes are not known: also if tables beside images without class
            folders may say them, but are not read.
    """
    try:
        dataset.encode()
        dataset = expand_path(dataset)
    except UnicodeEncodeError:
        raise InputError(f"{dataset!r} is not UTF-8, so no config can name it; rename it") from None
    except ValueError as error:
        raise InputError(f"{dataset}: {error}") from error
    found = detect_dataset(dataset)
    if found.format == "flat" and found.unread:
        raise InputError(_tables_unread(found))
    flat = {0: "0"} if found.format == "flat" else {}
    listing = list_as_named(packaged_path(found.path) or found.path, found.format, flat, found.split)
    own = {s.label: s.class_name for s in sorted(listing.sources, key=lambda s: s.class_name)}
    named = all(own.values()) and len(set(own.values())) == len(own) and not flat
    keys = {label: own[label] if named else str(label) for label in sorted(own)}
    words = readable_words({key: own[label] or key for label, key in keys.items()})
    counts = Counter(keys[source.label] for source in listing.sources)
    seen = Survey(
        dataset=dataset,
        detected=found,
        counts={key: counts[key] for key in keys.values()},
        words=words,
        captions=sum(1 for source in listing.sources if source.caption),
        attributes=frozenset(name for source in listing.sources for name in source.attributes),
        appearance=appearance_of(sorted(listing.sources, key=_key)),
        left_out=listing.left_out,
    )
    if not flat:
        return seen
    return Survey(**(vars(seen) | {"words": {"0": readable_word(seen.name)}}))


def _place(found: Detected) -> str:
    return found.path if isinstance(found.path, str) else some(found.path)


def _tables_unread(found: Detected) -> str:
    """Return a message that tables beside images without class folders were not read, and what to do."""
    tables = [f"{table} lies there and was not read: {why}" for table, why in found.unread]
    more = [f"... and {len(tables) - _SHOWN} more"] if len(tables) > _SHOWN else []
    return "\n  ".join(
        [
            f"{_place(found)} holds images without a folder for each class, and tables may say their classes:",
            *tables[:_SHOWN],
            *more,
            "Write a manifest with the columns path (from its own folder to the image) and label, or put the images "
            "into folders called like their classes. If all are of one class, move the tables elsewhere, or write a "
            "config by hand with input.format: flat and input.class_names: {0: WORD}",
        ]
    )


def _key(source: Source) -> str:
    return source.key


def _some(texts: list[str]) -> str:
    return ", ".join(texts[:_SHOWN]) + (f", ... ({len(texts)} in all)" if len(texts) > _SHOWN else "")
