"""Captions for images that came without: what of a model's answer becomes the source prompt of its image."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from augment.prompts.guards import Guards, Refusal
from augment.prompts.lengths import Reader

_BETWEEN = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])")
_END = re.compile(r"[.!?。！？][\"”»')]*$")
_QUOTES = '"“”«»'


class Caption(NamedTuple):
    """What of an answer is the caption of an image.

    Attributes:
        text: "" if there is none.
        refusal: why there is none; None if there is one.
        is_shortened: whether the answer had more sentences.
    """

    text: str
    refusal: Refusal | None = None
    is_shortened: bool = False


def caption_of(answer: str, class_name: str, guards: Guards, readers: Sequence[Reader], *, is_cut: bool) -> Caption:
    """Return the caption in an answer: its first sentences, as many as the text-to-image model reads whole.

    Args:
        answer: of the model.
        class_name: of the image.
        guards: decide whether the sentences may be a source prompt of the class.
        readers: of the text-to-image model; none if nothing is known of it.
        is_cut: whether the answer ran into the limit of its length, so that its last sentence is not whole.
    """
    text = " ".join(answer.split()).strip(_QUOTES).strip()
    sentences = sentences_of(text)
    whole = sentences[:-1] if is_cut and sentences and not _END.search(sentences[-1]) else sentences
    if sentences and not whole:
        return Caption("", Refusal("cut", "it ran into caption.max_tokens before a sentence ended"))
    for end in range(len(whole), 0, -1):
        kept = " ".join(whole[:end])
        if all(reader.read(kept) == kept for reader in readers):
            refusal = guards.refusal(kept, class_name)
            return Caption("" if refusal else kept, refusal, end < len(sentences))
    if not whole:
        return Caption("", Refusal("empty", "it is empty"))
    return Caption("", Refusal("too long", f"the model does not read {whole[0]!r} to its end"))


def sentences_of(text: str) -> list[str]:
    """Return the sentences of a text in one line; what follows the last full stop is one, too."""
    return [part.strip() for part in _BETWEEN.split(text) if part.strip()]
