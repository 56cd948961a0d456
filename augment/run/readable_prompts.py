"""Prompts and class words that a model's text encoders read, for a config that nobody has written yet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from augment.models.text_readers import TextReader
from augment.prompts import PromptConfig
from augment.prompts.domains import Domain
from augment.prompts.lengths import cut_prompt
from augment.prompts.templates import fill
from augment.run.survey import Survey

_SHOWN = 5


def readable_prompts(
    seen: Survey, domain: Domain, readers: Sequence[TextReader]
) -> tuple[Survey, PromptConfig, list[str]]:
    """Return class words and prompts whose classes the model reads, as far as that is possible, and what was done.

    Where the class is lost, the domain's short template takes the place of the others, and of class words that are
    still too long the last one stays: `golden retriever` becomes `retriever`, which is as true.

    Args:
        readers: the model's; without any nothing is known, and nothing is changed.
    """
    prompts = domain.prompts
    templates = (*prompts.templates, prompts.source_template)
    if not readers or not any(_is_lost(templates, word, readers) for word in seen.words.values()):
        return seen, prompts, []
    if domain.short_template:
        source = domain.short_template.partition("}")[0] + "}"
        prompts = prompts.model_copy(update={"templates": (domain.short_template,), "source_template": source})
        templates = (domain.short_template,)
    short = {key: _shortened(word, lambda w: _is_lost(templates, w, readers)) for key, word in seen.words.items()}
    reads = max(reader.length for reader in readers)
    cut = [f"{seen.words[key]} -> {word}" for key, word in short.items() if word != seen.words[key]]
    lost = [word for word in short.values() if _is_lost(templates, word, readers)]
    notes = []
    if cut:
        notes.append(f"class words cut, because the model reads {reads} tokens and no more: {_some(cut)}")
    if lost:
        notes.append(
            f"the model reads {reads} tokens, and so not the whole of {_some(lost)}; `augment validate` will refuse "
            "that: give shorter words, or another --model"
        )
    return replace(seen, words=short), prompts, notes


def _is_lost(templates: Sequence[str], word: str, readers: Sequence[TextReader]) -> bool:
    """Return whether a class is lost of the prompts of some template; attributes come behind it."""
    found = [cut_prompt(fill(template, word, {}), word, readers) for template in templates]
    return any(cut is not None and cut.lost_class for cut in found)


def _shortened(word: str, is_lost: Callable[[str], bool]) -> str:
    """Return a class word if it is read whole, otherwise the last of its words, unless that is lost as well."""
    last = word.split()[-1]
    return last if is_lost(word) and not is_lost(last) else word


def _some(texts: Sequence[str]) -> str:
    return ", ".join(texts[:_SHOWN]) + (", ..." if len(texts) > _SHOWN else "")
