"""What a prompt must have and must not have: its class word, no other class's, and nothing that is blocked."""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from augment.prompts.grid import PromptConfig
from augment.prompts.templates import noun
from augment.prompts.words import word_key

_SELECTORS = re.compile("[\ufe00-\ufe0f\u200c\u200d]")  # how a character is drawn, not which one it is
_SPACELESS = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")


class Phrases:
    """Words, and groups of words, that are looked for in sentences: whole, whatever their case.

    Where one lies in another the longer counts: of `dog` and `hot dog`, "a hot dog" has the second alone. In scripts
    without spaces between words any place counts.
    """

    def __init__(self, phrases: Iterable[str]) -> None:
        keys = {key for key in map(_key, phrases) if key}
        self._spaced = frozenset(key for key in keys if not _SPACELESS.search(key))
        self._longest = max((len(key.split()) for key in self._spaced), default=0)
        self._spaceless = sorted((key.replace(" ", "") for key in keys - self._spaced), key=len, reverse=True)

    def found(self, text: str) -> list[str]:
        """Return the phrases that a text has, in lower case and in order, those without spaces last."""
        words, found, at = _words(text), list[str](), 0
        while at < len(words):
            for end in range(min(at + self._longest, len(words)), at, -1):
                if (phrase := " ".join(words[at:end])) in self._spaced:
                    found.append(phrase)
                    at = end - 1
                    break
            at += 1
        rest = "".join(words)
        for phrase in self._spaceless:  # the longest first, and each is taken out
            if phrase in rest:
                found.append(phrase)
                rest = rest.replace(phrase, " ")
        return found


class Refusal(NamedTuple):
    """Why a text cannot be a prompt of a class: the kind, which is counted, and a clause for messages."""

    kind: str
    why: str


@dataclass(frozen=True)
class Guards:
    """The words that decide whether a prompt may be one of a class.

    Attributes:
        class_names: of the whole dataset.
        blocklist: words that no prompt may have.
        names_class: whether prompts name their class; otherwise they name none.
    """

    class_names: tuple[str, ...]
    blocklist: tuple[str, ...] = ()
    names_class: bool = True

    def refusal(self, text: str, class_name: str) -> Refusal | None:
        """Return why a text cannot be a prompt of a class; None if it can."""
        return self._cached(text, class_name)

    @functools.cached_property
    def _cached(self) -> Callable[[str, str], Refusal | None]:
        return functools.lru_cache(maxsize=100_000)(self._refusal)  # many images have the same few prompts

    def _refusal(self, text: str, class_name: str) -> Refusal | None:
        found, own = set(self._classes.found(text)), _key(class_name)
        if _SPACELESS.search(own):
            own = own.replace(" ", "")
        if not text.strip():
            return Refusal("empty", "it is empty")
        if self.names_class and own not in found and (own or noun(class_name) not in text):
            return Refusal("class word lost", f"the class word {noun(class_name)!r} is not in it")
        if not self.names_class and own in found:
            return Refusal("class named", f"it names the class {noun(class_name)!r}, and scene_only rules that out")
        if others := sorted(found - {own}):
            return Refusal("another class", f"it has the word of another class, {others[0]!r}")
        if blocked := self._blocked.found(text):
            return Refusal("blocklist", f"it has {blocked[0]!r}, which blocklist rules out")
        return None

    def findings(self, config: PromptConfig) -> Iterator[tuple[bool, str]]:
        """Yield what the texts of a grid have that their prompts should not: whether it is an error, and the text."""
        texts = {f"templates.{i}": re.sub(r"\{\w*\}", ". ", text) for i, text in enumerate(config.templates)}
        texts |= {f"attributes.{a}.{v.name}": v.text for a, values in config.attributes.items() for v in values}
        for where, text in texts.items():
            if blocked := self._blocked.found(text):
                yield True, f"{where}: {text!r} has {blocked[0]!r}, which blocklist rules out. Take one of them out"
            if len(self.class_names) > 1 and (named := self._classes.found(text)):
                yield (
                    False,
                    f"{where}: {text!r} has the class word {named[0]!r}, which prompts of other classes get, too: "
                    "their edits may show that class. Write it without, or rule it out with overrides",
                )

    @functools.cached_property
    def _classes(self) -> Phrases:
        return Phrases(self.class_names)

    @functools.cached_property
    def _blocked(self) -> Phrases:
        return Phrases(self.blocklist)


def guards_of(config: PromptConfig, class_names: Collection[str]) -> Guards:
    """Return the guards of a job's prompts; `class_names` are those of the whole dataset."""
    return Guards(tuple(sorted(set(class_names))), config.blocklist, not config.scene_only)


def distinct(texts: Sequence[str]) -> list[str]:
    """Return the texts without those that are an earlier one but for case and spaces, in order."""
    first: dict[str, str] = {}
    for text in texts:
        first.setdefault(word_key(text), text)
    return list(first.values())


def _key(phrase: str) -> str:
    return " ".join(_words(phrase))


def _words(text: str) -> list[str]:
    return _word_pattern().findall(_SELECTORS.sub("", word_key(text)))


@functools.cache
def _word_pattern() -> re.Pattern[str]:
    """Return what a word is.

    Vowel signs and tone marks are parts of words, which \\w leaves out: without them words of many scripts are one. A
    symbol is a word by itself: C++ is not C, and a class may be called by its emoji.
    """
    of_category: dict[str, list[str]] = {}
    for character in map(chr, range(0x20000)):
        of_category.setdefault(unicodedata.category(character), []).append(character)
    marks = "".join([*of_category["Mn"], *of_category["Mc"]])
    symbols = "".join([*of_category["Sm"], *of_category["So"], *"#&@"])
    return re.compile(f"[\\w{re.escape(marks)}]+|[{re.escape(symbols)}]")
