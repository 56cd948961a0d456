"""Words for classes: when two labels are one word, and which names are no words that a model could know."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterator, Mapping

from augment.prompts.templates import noun

_SHOWN = 3
# As folders of splits are called: `train`, `train2017`, `seg_train`.
_SPLIT = re.compile(
    r"((?:.*?[\W_])??)(train|training|trn|val|valid|validation|dev|eval|test|testing|tst|holdout|pred)"
    r"([\W\d_]|set|split|data|dataset|images?|imgs?|files|folder)*"
)
_HEAPS = {"images", "image", "imgs", "img", "jpegimages", "pictures", "photos", "data", "dataset", "unlabeled"}
_NUMBERED = re.compile(r"\d+\s*[._-]\s*\D")  # 001.Black_footed_Albatross
_CODE = re.compile(
    r"n\d{8}"  # WordNet's, as ImageNet's folders are called
    r"|[\W\d_]+"  # no letter at all: 0, 17, --
    r"|c\d+|(cls|class|label|category|cat|id)[\s_-]*\d+"
    r"|(?=.*\d)[0-9a-f]{8,}",  # hashes
    re.IGNORECASE,
)


def word_key(class_name: str) -> str:
    """Return what two names that are one word to a reader share: `Red_fox`, `red fox` and `ｒｅｄ  fox` are one."""
    return noun(unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", class_name).casefold()))


def is_code(class_name: str) -> bool:
    """Return whether a class name is a code or a number, such as `n01440764`, `17` or `class_3`, and no word."""
    return _CODE.fullmatch(class_name) is not None


def distinct_words(class_names: Mapping[int, str]) -> tuple[list[str], dict[int, int]]:
    """Return the distinct words of the classes, in the order of their first labels, and each label's place in them.

    Args:
        class_names: label -> name.
    """
    places: dict[str, int] = {}
    words: list[str] = []
    place_of: dict[int, int] = {}
    for label in sorted(class_names):
        key = word_key(class_names[label])
        if key not in places:
            places[key] = len(words)
            words.append(class_names[label])
        place_of[label] = places[key]
    return words, place_of


def word_findings(class_names: Mapping[int, str]) -> Iterator[str]:
    """Yield what is odd about the words for the classes, one text each, with the remedy.

    Args:
        class_names: label -> name.
    """
    yield from _shared_words(class_names)
    names = set(class_names.values())
    if folders := _no_classes(names):
        yield (
            f"the class(es) {_some(folders)} look like parts of a dataset, not like classes: if they are, let "
            f"input.path name one of them, for example the folder {sorted(folders)[0]!r}, whose subfolders are classes"
        )
    codes = [name for name in class_names.values() if is_code(name)]
    numbered = [name for name in class_names.values() if _NUMBERED.match(name)]
    for found, what in ((codes, "that are codes or numbers"), (numbered, "with a number in front")):
        if found:
            yield (
                f"{len(found)} class name(s) {what} go into prompts as they are: {_some(found)}. Give words by the "
                f"class's own name or by its label, for every class: input.class_names: {{{found[0]!r}: fox, ...}}"
            )
    if braces := [name for name in class_names.values() if "{" in name or "}" in name]:
        yield f"{len(braces)} class name(s) with braces go into prompts as they are: {_some(braces)}"


def _shared_words(class_names: Mapping[int, str]) -> Iterator[str]:
    by_place: dict[int, list[int]] = {}
    for label, place in distinct_words(class_names)[1].items():
        by_place.setdefault(place, []).append(label)
    shared = [labels for labels in by_place.values() if len(labels) > 1]
    if shared:
        some = "; ".join(
            f"{', '.join(map(str, labels[:_SHOWN]))}{', ...' if len(labels) > _SHOWN else ''} are "
            f"{noun(class_names[labels[0]])!r}"
            for labels in shared[:_SHOWN]
        )
        yield (
            f"{sum(map(len, shared))} labels share their word with another label, so label_probability cannot tell "
            f"them apart and is that of the word: the labels {some}{'; ...' if len(shared) > _SHOWN else ''}. "
            "Give them different words in input.class_names, for example `crane bird` and `construction crane`"
        )


def _no_classes(names: Collection[str]) -> list[str]:
    """Return the classes that are rather folders of a dataset. One `train` among boats and buses is a class."""
    folded = {name: name.casefold() for name in names}
    heaps = [name for name in names if folded[name] in _HEAPS]
    matches = {name: match for name in names if (match := _SPLIT.fullmatch(folded[name]))}
    kinds = Counter(front for front, _ in {match.group(1, 2) for match in matches.values()})
    # `steam train` and `blood test` are no splits: what stands in front of these is the same.
    splits = [name for name, match in matches.items() if not match[1] or kinds[match[1]] > 1]
    several = len({matches[name][2] for name in splits}) > 1
    return sorted(heaps + splits if several or len(splits) + len(heaps) == len(names) else heaps)


def _some(names: Collection[str]) -> str:
    shown = [repr(name if len(name) <= 40 else f"{name[:39]}…") for name in list(names)[:_SHOWN]]
    return ", ".join(shown) + (", ..." if len(names) > _SHOWN else "")
