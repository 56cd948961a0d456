"""The label score: over distinct words, whatever the labels are."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from augment.scoring.edit_scores import EditScorer

AXES = {"fox": 0, "owl": 1, "bus": 2}


class Axes:
    """A model of images and texts in three dimensions: a word is an axis, an image its first three numbers."""

    logit_scale = 2.0

    def image_embeds(self, images: Tensor) -> Tensor:
        return F.normalize(images.flatten(1)[:, :3], dim=1)

    def text_embeds(self, texts: Sequence[str]) -> Tensor:
        return torch.stack([torch.eye(3)[AXES[text.lower()]] for text in texts])

    def class_embeds(self, texts: Sequence[Sequence[str]]) -> Tensor:
        return torch.cat([self.text_embeds(of_one) for of_one in texts])


def label_probabilities(class_names: dict[int, str], labels: list[int]) -> list[float]:
    image = torch.zeros(1, 3, 1, 1)
    image[0, 0] = 1.0  # a fox
    found = EditScorer(Axes(), ["{class}"], class_names).score(
        image,
        image.expand(len(labels), -1, -1, -1),
        owners=[0] * len(labels),
        labels=labels,
        prompts=["fox"] * len(labels),
    )
    return [scores["label_probability"] for scores in found]


def test_labels_with_one_word_share_its_probability() -> None:
    fox, other = math.exp(2.0) / (math.exp(2.0) + 2.0), 1.0 / (math.exp(2.0) + 2.0)
    distinct = label_probabilities({0: "fox", 1: "owl", 2: "bus"}, [0, 1, 2])
    assert distinct == pytest.approx([fox, other, other])
    shared = label_probabilities({0: "fox", 1: "owl", 2: "bus", 5: "Fox", 7: " fox_"}, [0, 1, 2, 5, 7])
    assert shared == pytest.approx([fox, other, other, fox, fox])
