"""The captions of training pictures as token ids, drawn where the training runs."""

from __future__ import annotations

from itertools import product

import numpy as np
import torch
from torch import Tensor
from transformers import CLIPTokenizer

from augment.tiny.captions import caption
from augment.tiny.networks import tokenize
from augment.tiny.training import StepRandom
from augment.tiny.world import BACKGROUNDS, CLASSES, CONDITIONS

WORDINGS = 64  # draws of the grammar for each scene's attributes


class CaptionTable:
    """Wordings of every combination of object, background and condition.

    Attributes:
        ids: int64 [objects and one without a word, backgrounds, conditions, WORDINGS, tokens].
        empty: the empty caption, int64 [tokens].
    """

    def __init__(self, tokenizer: CLIPTokenizer, device: torch.device | str) -> None:
        rng = np.random.default_rng(0)
        scenes = product((*CLASSES, None), BACKGROUNDS, CONDITIONS)
        wordings = [caption(*scene, rng) for scene in scenes for _ in range(WORDINGS)]
        shape = (len(CLASSES) + 1, len(BACKGROUNDS), len(CONDITIONS), WORDINGS, -1)
        self.ids = tokenize(tokenizer, wordings).view(shape).to(device)
        self.empty = tokenize(tokenizer, [""])[0].to(device)

    def draw(self, labels: Tensor, random: StepRandom, dropout: float = 0.0, anonymous: float = 0.0) -> Tensor:
        """Draw a caption for each of some pictures, token ids int64 [B, tokens].

        Args:
            labels: object, background, condition, and what else there is, int64 [B, 3 or more].
            dropout: share of empty captions.
            anonymous: share of the objects with a word that is captioned without it.
        """
        count = len(labels)
        hidden, left_out = random.uniform(count) < anonymous, random.uniform(count) < dropout
        objects = labels[:, 0].masked_fill(hidden, len(CLASSES))
        ids = self.ids[objects, labels[:, 1], labels[:, 2], random.integers(0, WORDINGS, count)]
        return torch.where(left_out[:, None], self.empty, ids)
