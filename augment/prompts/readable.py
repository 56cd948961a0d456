"""Class names as datasets write them -> words as people say them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import TypeVar

from augment.prompts.words import is_code

K = TypeVar("K")

_CODE_IN_FRONT = re.compile(r"^n\d{8}[\s_.,-]+(?=\S)")  # WordNet's, as in n02099601_golden_retriever
_NUMBER_IN_FRONT = re.compile(r"^\d+\s*[._-]\s*(?=[^\W\d_])")  # 001.Black_footed_Albatross
_SYNONYMS = re.compile(r",\s*_?.*$")  # tench,_Tinca_tinca
_CAMEL = re.compile(r"(?<=[^\W\d_a-z])(?=[A-Z][a-z])|(?<=[^\W\d_A-Z])(?=[A-Z])|(?<=\d)(?=[A-Z][a-z])")
_HYPHENS = re.compile(r"(?<=[^\W\d_]{2})-(?=[^\W\d_]{2})")  # not those of t-shirt and x-ray


def readable_words(names: Mapping[K, str]) -> dict[K, str]:
    """Return the words in the names of a dataset's classes, by the same keys.

    Names that become one word (`Pepper,_bell___healthy` and `Pepper,_bell___Bacterial_spot`; `1-euro` and `2-euro`)
    lose nothing but their underscores and code, where that keeps them apart.
    """
    words = {key: readable_word(name) for key, name in names.items()}
    whole = {key: _with_all_words(name) for key, name in names.items()}
    shared, repeated = (Counter(word.casefold() for word in some.values()) for some in (words, whole))
    return {
        key: whole[key] if shared[word.casefold()] > 1 == repeated[whole[key].casefold()] else word
        for key, word in words.items()
    }


def _with_all_words(name: str) -> str:
    return " ".join(_CODE_IN_FRONT.sub("", name, count=1).replace("_", " ").split()) or name


def readable_word(name: str) -> str:
    """Return the words in a class's name: `n02099601_golden_retriever`, `GoldenRetriever` and `golden-retriever` are
    `golden retriever`, `001.Black_footed_Albatross` is `Black footed Albatross`.

    A code or number in front goes; snake, kebab and camel case become spaces; of synonyms after commas the first stays.
    Words of other languages stay as they are. A name that is nothing but a code or a number (`n01440764`, `17`) stays
    too: see `augment.prompts.words.is_code`.
    """
    if is_code(name):
        return name
    word = _NUMBER_IN_FRONT.sub("", _CODE_IN_FRONT.sub("", name, count=1), count=1)
    word = _SYNONYMS.sub("", word) or word
    word = _HYPHENS.sub(" ", word.replace("_", " ").replace("+", " "))
    word = " ".join(_without_camels(part) for part in word.split())
    return word or name


def _without_camels(part: str) -> str:
    """Return one part of a name, split where its case does. Pieces of a word in ASCII are in lower case, but for
    abbreviations; German nouns keep theirs."""
    pieces = _CAMEL.sub(" ", part).split()
    if len(pieces) < 2 or any(
        len(p) < 2 or (len(p) < 3 and not p.isupper()) for p in pieces
    ):  # iPhone, TShirt, McDonald
        return part
    if not part.isascii():
        return " ".join(pieces)
    return " ".join(piece if piece.isupper() else piece.lower() for piece in pieces)
