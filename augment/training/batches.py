"""What each step trains on: pictures decoded, augmented and mixed. Batch number n depends on the seed and n only."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset

from augment.errors import AugmentError
from augment.seeding import seed_for
from augment.training.augmentations import Augmentation
from augment.training.data import Pixels
from augment.training.order import BatchOrder
from augment.training.process_group import ALONE, Ranks


@dataclass(frozen=True)
class BatchPart:
    """This process's part of a batch.

    Attributes:
        images: float32 [B, 3, H, W]; B may be smaller than the batch by the parts of other processes.
        targets: their classes, int64 [B], or shares of the classes, float32 [B, C]; with the recipe `weighted` these
            times the sample's weight.
        error: why the pictures could not be read; then images and targets are zeros, and no step may be taken.
    """

    images: Tensor
    targets: Tensor
    error: AugmentError | None = None


@dataclass
class NumberedBatches(Dataset[BatchPart]):
    """Batch number n is what step n trains on.

    Attributes:
        order: says which samples it has.
        pixels: of all samples, real ones first.
        targets: their classes, int64 [N].
        augmentation: of the pictures and of whole batches.
        seed: of the augmentation.
        ranks: say which part of each batch this process decodes. The parts are the same pictures, changed and mixed in
            the same way, as those of the whole batch, whatever the number of processes.
        num_classes: of the targets, where these become shares of the classes; 0: they stay classes.
        soft: shares of the classes of the last samples, float32 [S, C], in place of their class.
        weights: of the loss of each sample, float32 [N]; its shares of the classes are multiplied by it.
    """

    order: BatchOrder
    pixels: Pixels
    targets: Tensor
    augmentation: Augmentation
    seed: int
    ranks: Ranks = ALONE
    num_classes: int = 0
    soft: Tensor | None = None
    weights: Tensor | None = None

    def __getitem__(self, number: int) -> BatchPart:
        samples = self.order.batch(number)
        part = self.ranks.part(len(samples))
        try:
            return self._made(number, samples, part)
        except AugmentError as error:
            side = self.augmentation.image_size
            return BatchPart(torch.zeros(len(part), 3, side, side), torch.zeros(len(part), dtype=torch.int64), error)

    def _made(self, number: int, samples: list[int], part: range) -> BatchPart:
        places = [*part]
        neighbour = self.augmentation.mixes and len(part) < len(samples)
        if neighbour:  # a mixed batch pairs each picture with the one before it
            places.insert(0, (part.start - 1) % len(samples))
        taken = [samples[place] for place in places]
        pixels = torch.from_numpy(self.pixels.take(taken)).permute(0, 3, 1, 2).contiguous()
        seed = seed_for(self.seed, "augmentation", number)
        images, targets = self.augmentation(pixels, self._targets_of(taken), seed, places)
        return BatchPart(images[neighbour:], targets[neighbour:])

    def _targets_of(self, taken: list[int]) -> Tensor:
        if not self.num_classes:
            return self.targets[taken]
        shares = F.one_hot(self.targets[taken], self.num_classes).float()
        if self.soft is not None:
            places = torch.tensor(taken) - (len(self.targets) - len(self.soft))
            shares[places >= 0] = self.soft[places[places >= 0]]
        return shares if self.weights is None else shares * self.weights[taken, None]
