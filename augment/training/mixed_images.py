"""Real pictures and edits as one map-style dataset with an exact ratio, for whatever takes such a dataset.

from augment.training.mixed_images import MixedImages
mixed = MixedImages(ImageFolder("photos/train"), EditedImages("out/photos"), ratio=0.5, transform=transform)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any, Protocol

import torch
from torch.utils.data import Dataset

from augment.errors import InputError
from augment.inputs.class_words import without_numbers
from augment.training.order import MixedOrder


class LabelledImages(Protocol):
    """A map-style dataset of (image, label), such as those of torchvision."""

    def __len__(self) -> int: ...

    def __getitem__(self, place: int, /) -> tuple[Any, int]: ...


class MixedImages(Dataset[tuple[Any, int]]):
    """One epoch of n real pictures and edits, floor or ceil(n ratio) of them edits; any sampler may go through it.

    Both kinds are gone through in passes, each in an order of its own (see `augment.training.order`), and the next
    epoch goes on where the last one ended: with more pictures than an epoch has room for, each comes in its turn.

    Args:
        real, edits: datasets of (image, label) with the same labels.
        ratio: share of edits, 0 to 1.
        epoch_samples: length n; as many as both have together, if it is not given.
        transform: called with the image that either dataset gives.
        seed: of the orders.

    Raises:
        InputError: if both call a class by the same name and give it another label.
        ValueError: if a number is out of its range, or a dataset that is needed is empty.
    """

    def __init__(
        self,
        real: LabelledImages,
        edits: LabelledImages,
        *,
        ratio: float = 0.5,
        epoch_samples: int | None = None,
        transform: Callable[[Any], Any] | None = None,
        seed: int = 0,
    ) -> None:
        self.real, self.edits, self.transform = real, edits, transform
        _refuse_other_labels(labels_of_names(real), labels_of_names(edits))
        self._length = epoch_samples if epoch_samples is not None else len(real) + len(edits)
        if self._length < 1:
            raise ValueError(f"epoch_samples is {self._length}, expected at least 1")
        self._order = MixedOrder(len(real), len(edits), Fraction(str(ratio)), 1, seed)
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()  # worker processes that live on see it, too

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch: as many samples, but the next ones."""
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, place: int) -> tuple[Any, int]:
        """Return image and label. Raises IndexError if there is no such place."""
        if not 0 <= place < self._length:
            raise IndexError(f"place {place} of {self._length}")
        (chosen,) = self._order.batch(int(self._epoch) * self._length + place)
        own = self._order.real
        image, label = self.real[chosen] if chosen < own else self.edits[chosen - own]
        return (self.transform(image) if self.transform else image), label


def labels_of_names(dataset: Any) -> dict[str, int]:
    """Return class name -> label, as far as a dataset says so: `EditedImages`, torchvision's, timm's, a `Subset`."""
    for holder in (dataset, getattr(dataset, "reader", None), getattr(dataset, "dataset", None)):
        if isinstance(named := getattr(holder, "class_to_idx", None), Mapping):
            return {str(name): int(label) for name, label in named.items()}
        if isinstance(named := getattr(holder, "class_names", None), Mapping):
            return {str(name): int(label) for label, name in named.items()}
    return {}


def _refuse_other_labels(real: Mapping[str, int], edits: Mapping[str, int]) -> None:
    """Raise InputError if a class has another label in the edits, which would then train the wrong class."""
    labels, words = _labels_of_words(real), _labels_of_words(edits)
    other = [word for word, label in words.items() if labels.get(word, label) != label]
    if other:
        word = other[0]
        raise InputError(
            f"{len(other)} classes have another label in the edits than in the real pictures, such as {word!r}: "
            f"{words[word]} there, {labels[word]} here. `augment` and torchvision sort folders by letters; timm "
            "reads digits as numbers. Give the real pictures the labels of the edits (in timm by "
            "class_map), or make edits of the same classes"
        )


def _labels_of_words(named: Mapping[str, int]) -> dict[str, int]:
    """Return word -> label: a folder `003.red_fox` is the red fox of prompts."""
    own = without_numbers({label: name for name, label in named.items()})
    return {" ".join(name.replace("_", " ").split()): label for label, name in own.items()}
