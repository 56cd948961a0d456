"""What each step trains on: pictures decoded, augmented and mixed. Batch number n depends on the seed and n only."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import Dataset

from augment.seeding import seed_for
from augment.training.augmentations import Augmentation
from augment.training.data import Pixels
from augment.training.order import MixedOrder


@dataclass
class NumberedBatches(Dataset[tuple[Tensor, Tensor]]):
    """Batch number n is what step n trains on.

    Attributes:
        order: says which samples it has.
        pixels: of all samples, real ones first.
        targets: their classes, int64 [N].
        augmentation: of the pictures and of whole batches.
        seed: of the augmentation.
    """

    order: MixedOrder
    pixels: Pixels
    targets: Tensor
    augmentation: Augmentation
    seed: int

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor]:
        places = self.order.batch(number)
        pixels = torch.from_numpy(self.pixels.take(places)).permute(0, 3, 1, 2).contiguous()
        return self.augmentation(pixels, self.targets[places], seed_for(self.seed, "augmentation", number))
