"""Scores of edits from one CLIP model: is the label still true, did the edit happen, is it still that picture?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field, field_validator

from augment.prompts.templates import fields_of, fill

if TYPE_CHECKING:
    from torch import Tensor


class ClipConfig(BaseModel):
    """The model that scores edits."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(default="embedded", description="`embedded`, a folder or a hub id in CLIPModel format")
    label_templates: tuple[str, ...] = Field(
        default=("a picture of {a_class}",),
        min_length=1,
        description="what each class is called in the zero-shot label score; several are averaged",
    )

    @field_validator("label_templates")
    @classmethod
    def _check_templates(cls, templates: tuple[str, ...]) -> tuple[str, ...]:
        for template in templates:
            fields = fields_of(template)
            if unknown := set(fields) - {"class", "a_class"}:
                raise ValueError(f"template {template!r}: {{{min(unknown)}}} is neither {{class}} nor {{a_class}}")
            if not fields:
                raise ValueError(
                    f"template {template!r} says nothing about the class: it needs {{class}} or {{a_class}}"
                )
        return templates


class EditScorer:
    """Loads CLIP on a device and embeds the class names once.

    Args:
        class_names: label -> name, of every class of the dataset.
    """

    def __init__(self, config: ClipConfig, class_names: Mapping[int, str], device: str) -> None:
        from augment.models.clip import load_clip

        self._clip = load_clip(config.name, device)
        labels = sorted(class_names)
        self._place = {label: i for i, label in enumerate(labels)}
        texts = [[fill(template, class_names[i], {}) for template in config.label_templates] for i in labels]
        self._class_embeds = self._clip.class_embeds(texts)

    def score(
        self, sources: Tensor, edits: Tensor, *, owners: Sequence[int], labels: Sequence[int], prompts: Sequence[str]
    ) -> list[dict[str, float]]:
        """Score edits [N, 3, H, W] of sources [B, 3, H, W], both in -1..1.

        Args:
            owners: for each edit, the place of its source in `sources`.
            labels, prompts: for each edit, its label and its target prompt.

        Returns:
            for each edit `label_probability` (0..1, zero-shot among the class names), `text_alignment` and
            `source_similarity` (cosines).
        """
        embeds = self._clip.image_embeds(edits)  # [N, D], unit length
        source_embeds = self._clip.image_embeds(sources)[list(owners)]  # [N, D]
        probabilities = (self._clip.logit_scale * embeds @ self._class_embeds.T).softmax(dim=1)  # [N, classes]
        # Not cached by prompt: which prompts share a batch, and with it the last bit, would depend on what ran before.
        alignment = (embeds * self._clip.text_embeds(list(prompts))).sum(dim=1)
        similarity = (embeds * source_embeds).sum(dim=1)
        return [
            {
                "label_probability": float(probabilities[i, self._place[label]]),
                "text_alignment": float(alignment[i]),
                "source_similarity": float(similarity[i]),
            }
            for i, label in enumerate(labels)
        ]
