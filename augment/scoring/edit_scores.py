"""Scores of edits from one CLIP model: is the label still true, did the edit happen, is it still that picture?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from augment.prompts.templates import fill
from augment.prompts.words import distinct_words


class ImageTextModel(Protocol):
    """What scoring needs of a CLIP model: images and texts as unit vectors in one space."""

    logit_scale: float
    rows: int | None

    def image_embeds(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B D"]:
        """Return images, in -1..1, as unit vectors."""

    def text_embeds(self, texts: Sequence[str]) -> Float[Tensor, "N D"]:
        """Return texts as unit vectors."""

    def class_embeds(self, texts: Sequence[Sequence[str]]) -> Float[Tensor, "N D"]:
        """Return one unit vector per class: the normalised mean of its texts."""


class EditScorer:
    """Scores edits by a CLIP model; the words for the classes are embedded once.

    Labels that share a word, as ImageNet's two cranes do, share its probability: were both compared with an edit, each
    would get half.

    Args:
        clip: the model.
        label_templates: what each class is called; several are averaged.
        class_names: label -> name, of every class of the dataset.
    """

    def __init__(self, clip: ImageTextModel, label_templates: Sequence[str], class_names: Mapping[int, str]) -> None:
        self.clip = clip
        words, self._place = distinct_words(class_names)
        texts = [[fill(template, word, {}) for template in label_templates] for word in words]
        self._class_embeds = self.clip.class_embeds(texts)

    def score(
        self, sources: Tensor, edits: Tensor, *, owners: Sequence[int], labels: Sequence[int], prompts: Sequence[str]
    ) -> list[dict[str, float]]:
        """Score edits [N, 3, H, W] of sources [B, 3, H, W], both in -1..1.

        Args:
            owners: for each edit, the index of its source in `sources`.
            labels, prompts: for each edit, its label and its target prompt.

        Returns:
            for each edit `label_probability` (0..1, zero-shot among the distinct class
            words), `text_alignment` and
            `source_similarity` (cosines).
        """
        embeds = self.clip.image_embeds(edits)  # [N, D], unit length
        source_embeds = self.clip.image_embeds(sources)[list(owners)]  # [N, D]
        # One row after the other: a product of another shape may round differently, and scores are compared by bytes.
        logits = torch.stack([self.clip.logit_scale * (row @ self._class_embeds.T) for row in embeds])
        probabilities = logits.softmax(dim=1)  # [N, words]
        # Not cached by prompt: which prompts share a batch, and with it the last bit, would depend on what ran before.
        alignment = (embeds * self.clip.text_embeds(list(prompts))).sum(dim=1)
        similarity = (embeds * source_embeds).sum(dim=1)
        return [
            {
                "label_probability": float(probabilities[i, self._place[label]]),
                "text_alignment": float(alignment[i]),
                "source_similarity": float(similarity[i]),
            }
            for i, label in enumerate(labels)
        ]
