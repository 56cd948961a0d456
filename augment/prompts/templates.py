"""Templates: sentences with `{field}`s, where a field is replaced by words as they are."""

from __future__ import annotations

import functools
import re
import string
from collections.abc import Mapping

CLASS_FIELDS = ("class", "a_class")
_CLASS_MARK = "\ue000"  # of no script


def fields_of(template: str) -> list[str]:
    """Return the names of a template's fields, in order.

    Raises:
        ValueError: for unbalanced braces, `{}` and format specifications such as `{class:>9}` or `{class!r}`.
    """
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as error:
        raise ValueError(f"template {template!r}: {error}") from None
    names = []
    for _, name, specification, conversion in parts:
        if name is None:
            continue
        if not name.isidentifier() or specification or conversion:
            raise ValueError(f"template {template!r}: a field is a plain name in braces, such as {{class}}")
        names.append(name)
    return names


def fill(template: str, class_name: str, texts: Mapping[str, str]) -> str:
    """Return the sentence for a class and the texts of its attributes; a field without a text is left out.

    Underscores in the class name become spaces, and the gaps that empty texts leave are closed.
    """
    return _fill(template, class_name, tuple(texts.items()))


@functools.lru_cache(maxsize=100_000)  # a plan of a million images needs the same few sentences many times
def _fill(template: str, class_name: str, texts: tuple[tuple[str, str], ...]) -> str:
    word = noun(class_name)
    words = {**dict(texts), "class": word, "a_class": with_article(word)}
    parts = string.Formatter().parse(template)
    # The class word goes in last: what closes gaps must not touch a name such as `.22 rifle`.
    kept = {"class": _CLASS_MARK, "a_class": _CLASS_MARK * 2}
    sentence = "".join(literal + kept.get(name or "", words.get(name or "", "")) for literal, name, _, _ in parts)
    sentence = re.sub(r"\s+(?=[,.;:!?])", "", " ".join(sentence.split()))
    sentence = re.sub(r"^[,.;: ]+|[,;:]+(?=[,.;:]|$)", "", sentence)
    return sentence.replace(_CLASS_MARK * 2, words["a_class"]).replace(_CLASS_MARK, words["class"])


def noun(class_name: str) -> str:
    """Return a class's name as prompts say it: underscores become spaces, and each gap is one space."""
    return " ".join(class_name.replace("_", " ").split())


def with_article(noun: str) -> str:
    """Return `an owl`, `a fox`, `a unicycle`, `an hourglass`: by sound as far as a few common beginnings tell."""
    vowel = re.match(r"(?!uni(?!n)|use|eu|one\b)[aeiou]|hour|heir|honest", noun.lower())
    return f"{'an' if vowel else 'a'} {noun}"
