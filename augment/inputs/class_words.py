"""The words for the classes of a dataset: those it has, and those that a config gives."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Mapping

from augment.errors import InputError
from augment.types import MAX_LABEL

ClassNames = Mapping[int, str] | Mapping[str, str] | Mapping[int | str, str]
_NUMBER = re.compile(r"^\d+\s*[._-]\s*(?=[^\W\d_])")  # the `001.` of 001.Black_footed_Albatross


def label_of(key: int | str) -> int | None:
    """Return the label that a key of `input.class_names` gives; None if it can only be a class's own name."""
    if isinstance(key, int):
        return key
    return int(key) if re.fullmatch(r"[0-9]+", key) and int(key) <= MAX_LABEL else None


def by_label(given: ClassNames) -> dict[int, str]:
    """Return label -> word of the keys that are labels."""
    return {label: word for key, word in given.items() if (label := label_of(key)) is not None}


def given_words(given: ClassNames, own: Mapping[int, str]) -> dict[int, str]:
    """Return label -> word. A key that is a class's own name means that class; another key is a label.

    Args:
        given: a class's own name, or its label -> the word for it. Classes that the dataset lacks may be among them.
        own: label -> what the dataset calls the class, for those that it names.

    Raises:
        InputError: if two keys give one class different words.
    """
    labels = {name: label for label, name in own.items()}
    # macOS stores names decomposed, keyboards write them composed.
    labels = {unicodedata.normalize("NFC", name): label for name, label in labels.items()} | labels
    words: dict[int, str] = {}
    keys: dict[int, int | str] = {}
    for key, word in given.items():
        label = labels.get(key, labels.get(unicodedata.normalize("NFC", key))) if isinstance(key, str) else None
        label = label_of(key) if label is None else label
        if label is None:
            continue  # a class that this dataset does not have
        if words.setdefault(label, word) != word:
            raise InputError(
                f"input.class_names gives the label {label} (called {own.get(label, '')!r} by the dataset) two words, "
                f"{words[label]!r} by the key {keys[label]!r} and {word!r} by {key!r}: a key that is a class's own "
                "name means that class, and any other number is a label. Use the own names for all classes"
            )
        keys[label] = key
    return words


def misread_keys(given: ClassNames, own: Mapping[int, str]) -> list[str]:
    """Return the keys that are a class's own name and also the label of another class: numbered folders."""
    labels = {name: label for label, name in own.items()}
    return [k for k in given if isinstance(k, str) and k in labels and label_of(k) in own.keys() - {labels[k]}]


def without_numbers(own: Mapping[int, str]) -> dict[int, str]:
    """Return the classes' own names without the number in front, if all have one (`001.Black_footed_Albatross`).

    Not if it is what tells two classes apart, as in `1-euro` and `2-euro`.
    """
    if len(own) < 2 or not all(_NUMBER.match(name) for name in own.values()):
        return dict(own)
    words = {label: _NUMBER.sub("", name, count=1) for label, name in own.items()}
    return words if len({word.casefold() for word in words.values()}) == len(words) else dict(own)


def nearest_key(given: ClassNames, name: str) -> str:
    """Return a hint at the key that is most like a class's own name; "" if none is."""
    near = difflib.get_close_matches(name, [key for key in given if isinstance(key, str)], 1) if name else []
    return f"; did you mean {name!r} by {near[0]!r}?" if near else ""
