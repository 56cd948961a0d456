"""A guess at the kind of pictures in a dataset, from its words and what some of its pictures look like."""

from __future__ import annotations

import re
from collections.abc import Collection

from augment.inputs.appearance import Appearance
from augment.prompts.domains import NEUTRAL, Domain, domains

_ENOUGH, _APART = 0.3, 0.1  # score of the best guess, and by how much it has to exceed the second
_NAME = 0.5  # what the dataset's own name counts, where a class word of every class counts 1
# What the looks of all pictures count. Grey pictures are medical only where a word says so too: many others are grey.
_GREY, _PLAIN_BORDER, _FLAT = 0.3, 0.4, 0.35


def guess_domain(name: str, words: Collection[str], look: Appearance) -> tuple[str, str]:
    """Return the name of a domain, `neutral` if nothing speaks clearly for another, and why.

    Args:
        name: of the dataset.
        words: for its classes.
    """
    scores: dict[str, float] = {}
    reasons: dict[str, str] = {}
    for key, domain in domains().items():
        hits = sum(_mentions(domain, word) for word in words)
        named = bool(_tokens(name) & domain.named)
        looks, how = 0.0, ""
        if key == "medical" and (hits or named):
            looks, how = _GREY * look.grey, "grey"
        elif key == "products":
            looks, how = _PLAIN_BORDER * look.plain_border, "on white"
        elif key == "drawings":
            looks, how = _FLAT * look.flat, "of few colours"
        scores[key] = hits / max(1, len(words)) + _NAME * named + looks
        told = [f"{hits} of {len(words)} class words"] if hits else []
        told += [f"the name {name!r}"] if named else []
        told += [f"pictures {how}"] if looks >= _APART else []
        reasons[key] = ", ".join(told)
    best, second = sorted(scores, key=lambda key: (-scores[key], key))[:2]
    if scores[best] < _ENOUGH:
        return NEUTRAL, "nothing speaks for another one"
    if scores[best] - scores[second] < _APART:
        return NEUTRAL, f"{best} and {second} are equally likely"
    return best, reasons[best]


def _mentions(domain: Domain, word: str) -> bool:
    """Return whether a class word is one of the domain's, or has one in it; in scripts without spaces anywhere."""
    return bool(_tokens(word) & domain.words) or any(known in word for known in domain.words if not known.isascii())


def _tokens(text: str) -> set[str]:
    found = set(re.findall(r"[^\W_]+", text.casefold()))
    return found | {token.removesuffix("s") for token in found if len(token) > 3}
