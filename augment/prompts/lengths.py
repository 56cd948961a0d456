"""Prompts that are longer than a model's text encoders read: what is lost of them, and whether it is the class."""

from __future__ import annotations

import functools
import heapq
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from augment.errors import PromptError
from augment.prompts.grid import PromptConfig
from augment.prompts.guards import Phrases
from augment.prompts.sources import GridPrompts, PromptSource
from augment.prompts.templates import fields_of, fill, noun
from augment.types import PlannedSource, Source

MAX_SOURCES, MAX_CAPTIONS = 2_000, 1_000  # whose prompts are counted, where some may be too long: a second or two


class Reader(Protocol):
    """A text encoder, as far as its tokenizer tells."""

    @property
    def name(self) -> str:
        """Return what messages call it."""

    @property
    def length(self) -> int:
        """Return how many tokens it reads, with those that begin and end a text."""

    def count(self, text: str) -> int:
        """Return the number of a text's tokens, with those that begin and end it."""

    def read(self, text: str) -> str:
        """Return the part of a text that is read, which ends before the first word that is not read whole."""


@dataclass(frozen=True)
class CutPrompt:
    """A prompt that some encoder does not read to its end.

    Attributes:
        text: the whole prompt.
        read: by encoder that cuts it, the part that is read.
        lost_class: the class word, if the prompt has it and no encoder reads it; else "".
    """

    text: str
    read: Mapping[str, str]
    lost_class: str = ""


def cut_prompt(text: str, class_name: str, readers: Sequence[Reader]) -> CutPrompt | None:
    """Return what is lost of a prompt; None if every encoder reads all of it.

    Args:
        class_name: whose word the prompt must keep; "" for a caption.
        readers: not empty.
    """
    parts = {reader.name: reader.read(text) for reader in readers}
    cut = {name: part for name, part in parts.items() if len(part) < len(text)}
    if not cut:
        return None
    phrase = _phrase(class_name)
    lost = phrase.found(text) and not any(phrase.found(part) for part in parts.values())
    return CutPrompt(text, cut, noun(class_name) if lost else "")


@functools.lru_cache(maxsize=10_000)
def _phrase(class_name: str) -> Phrases:
    return Phrases([class_name])


def too_long(
    templates: Iterable[str], class_names: Collection[str], reader: Reader, texts: Mapping[str, str]
) -> list[str]:
    """Return the templates whose sentence may not be read whole for some class: all others are, for every class.

    Args:
        class_names: not empty.
        texts: by attribute, the longest words for it.
    """
    longest = max(sorted(class_names), key=lambda name: reader.count(noun(name)))
    return [
        template
        for template in templates
        # With tokens to spare where words meet, because two words may be other tokens together than alone.
        if reader.count(fill(template, longest, texts)) + 2 * len(fields_of(template)) > reader.length
    ]


def cut_prompts(
    config: PromptConfig, sources: Sequence[Source], num_variants: int, seed: int, readers: Sequence[Reader]
) -> tuple[list[CutPrompt], int]:
    """Return the prompts of a plan that are cut, and how many distinct ones were counted.

    If the longest words in each template fit, so do all prompts, and only captions are counted: the longest. Otherwise
    the prompts of every class are, for some of its images.

    Args:
        sources, num_variants, seed: as planned.
    """
    if not readers or not sources:
        return [], 0
    captions = {s.caption for s in sources if s.caption}
    wanted = dict.fromkeys(heapq.nlargest(MAX_CAPTIONS, captions, key=lambda text: (len(text), text)), "")
    if not _all_fit(config, {s.class_name for s in sources}, readers):
        wanted |= _planned_prompts(GridPrompts(config, sources), sources, num_variants, seed, wanted)
    return cut_among(wanted, readers), len(wanted)


def cut_of_source(
    prompts: PromptSource, sources: Sequence[Source], num_variants: int, seed: int, readers: Sequence[Reader]
) -> tuple[list[CutPrompt], int]:
    """Return the same of prompts from any source: those of every class are counted, for some of its images."""
    if not readers or not sources:
        return [], 0
    wanted = _planned_prompts(prompts, sources, num_variants, seed, {})
    return cut_among(wanted, readers), len(wanted)


def cut_among(wanted: Mapping[str, str], readers: Sequence[Reader]) -> list[CutPrompt]:
    """Return which of some prompts are cut; none if there is no reader to ask.

    Args:
        wanted: prompt -> the class whose word it must keep, or "".
    """
    if not readers:
        return []
    found = [cut_prompt(text, class_name, readers) for text, class_name in wanted.items()]
    return [cut for cut in found if cut is not None]


def length_findings(cut: Sequence[CutPrompt], counted: int, readers: Sequence[Reader]) -> tuple[list[str], list[str]]:
    """Return problems (prompts that lose their class) and warnings (other words are lost), one text of each at most."""
    lengths = {reader.name: reader.length for reader in readers}
    lost = [prompt for prompt in cut if prompt.lost_class]
    errors, warnings = [], []
    if lost:
        first = lost[0]
        read = max(first.read.values(), key=len)
        errors.append(
            f"{len(lost)} of {counted} prompts lose their class, the first is {_short(first.text)}: the model reads "
            f"{_short(read)} ({_tokens(lengths, first.read)}), and {_short(first.lost_class)} comes later or is not "
            "read whole. Put {a_class} to the front of the template, or shorten it"
        )
    if len(cut) > len(lost):
        first = next(prompt for prompt in cut if not prompt.lost_class)
        part = min(first.read.values(), key=len)
        whole = [name for name in lengths if name not in first.read]
        others = f"; {_tokens(lengths, whole)} reads all of it" if whole else ""
        warnings.append(
            f"{len(cut) - len(lost)} of {counted} prompts are longer than the model reads "
            f"({_tokens(lengths, first.read)}): of {_short(first.text)} the words {first.text[len(part) :].strip()!r} "
            f"are lost{others}. Shorten the templates, or put first what must be read"
        )
    return errors, warnings


def _all_fit(config: PromptConfig, class_names: Collection[str], readers: Iterable[Reader]) -> bool:
    """Return whether the longest word for each field of each template fits."""
    for reader in readers:
        texts = {
            attribute: max((value.text for value in values), key=reader.count)
            for attribute, values in config.attributes.items()
        }
        if too_long((*config.templates, config.source_template), class_names, reader, texts):
            return False
    return True


def _planned_prompts(
    prompts: PromptSource, sources: Sequence[Source], num_variants: int, seed: int, known: Mapping[str, str]
) -> dict[str, str]:
    """Return the prompts of some images with the class whose word each must keep; `known` ones need keep none."""
    wanted = dict(known)
    for planned in _some_planned(prompts, sources, num_variants, seed):
        class_name = planned.source.class_name
        wanted.setdefault(planned.source_prompt, "" if planned.source.caption else class_name)
        wanted |= {variant.prompt: class_name for variant in planned.variants}
    return wanted


def _some_planned(
    prompts: PromptSource, sources: Sequence[Source], num_variants: int, seed: int
) -> Iterable[PlannedSource]:
    of_class = {s.class_name: s for s in reversed(sources)}
    chosen = list(of_class.values())[:MAX_SOURCES]
    chosen += sources[:: max(1, len(sources) // (MAX_SOURCES - len(chosen)))] if len(chosen) < MAX_SOURCES else []
    for source in chosen[:MAX_SOURCES]:
        try:
            yield prompts.plan(source, num_variants, seed)
        except PromptError:
            continue  # said elsewhere: nothing is left to draw


def _tokens(lengths: Mapping[str, int], names: Iterable[str]) -> str:
    return ", ".join(f"{name}: {lengths[name]} tokens" for name in names)


def _short(text: str) -> str:
    return repr(text if len(text) <= 120 else f"{text[:80]} … {text[-30:]}")
