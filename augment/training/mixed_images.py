"""Real pictures and edits as one map-style dataset with an exact ratio, for whatever takes such a dataset.

from augment.training.mixed_images import MixedImages
mixed = MixedImages(ImageFolder("photos/train"), EditedImages("out/photos"), ratio=0.5, transform=transform)
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from typing import Any, Protocol

import torch
from PIL import Image
from torch.utils.data import Dataset

from augment.errors import InputError
from augment.inputs.class_words import without_numbers
from augment.inputs.images import upright
from augment.inputs.keys import legal_key
from augment.training.order import MixedOrder

_SHOWN = 3  # names of a message


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
        transform: called with the image that either dataset gives; pictures of PIL come upright, as edits are.
        seed: of the orders.

    Raises:
        InputError: if both have a class of one name, or of one folder, and give it another label.
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
        _refuse_other_labels(real, edits)
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
        if isinstance(image, Image.Image):  # other readers leave it as it lies in the file
            image = upright(image)
        return (self.transform(image) if self.transform else image), label


def labels_of_names(dataset: Any) -> dict[str, int]:
    """Return class name -> label, as far as a dataset says so: `EditedImages`, torchvision's, timm's, a `Subset`.

    A name of several classes is left out.
    """
    for holder in _holders(dataset):
        if isinstance(named := getattr(holder, "class_to_idx", None), Mapping):
            return {str(name): int(label) for name, label in named.items()}
        if isinstance(named := getattr(holder, "class_names", None), Mapping):
            counts = Counter(named.values())
            return {str(name): int(label) for label, name in named.items() if counts[name] == 1}
    return {}


def labels_of_folders(dataset: Any) -> dict[str, int]:
    """Return the folder of a class, as keys have it -> label, as far as a dataset says so."""
    for holder in _holders(dataset):
        if isinstance(named := getattr(holder, "class_folders", None), Mapping):
            return {str(folder): int(label) for folder, label in named.items()}
        if isinstance(named := getattr(holder, "class_to_idx", None), Mapping):
            keys = Counter(legal_key(str(name)) for name in named)
            # `a b` and `a_b` are one folder in keys, which does not say which of both it is.
            return {key: int(named[name]) for name in named if keys[key := legal_key(str(name))] == 1}
    return {}


def _holders(dataset: Any) -> list[Any]:
    return [dataset, getattr(dataset, "reader", None), getattr(dataset, "dataset", None)]


def _refuse_other_labels(real: LabelledImages, edits: LabelledImages) -> None:
    """Raise InputError if a class has another label in the edits, which would then train the wrong class.

    Classes are compared by their folders, or else by their words: the words of `input.class_names` are no folders. One
    word alone is warned of: it may mean two things, as `crane` does in ImageNet.
    """
    folders = labels_of_folders(real), labels_of_folders(edits)
    words = _labels_of_words(labels_of_names(real)), _labels_of_words(labels_of_names(edits))
    here, there = folders if folders[0].keys() & folders[1].keys() else words
    met = here.keys() & there.keys()
    if here and there and not met:
        warnings.warn(
            f"no class of the real pictures has the name of one of the edits ({_some(here)} here, {_some(there)} "
            "there), so it cannot be checked that label 0 means the same class in both, and so on: see that it does",
            stacklevel=3,
        )
    if other := sorted(name for name in met if here[name] != there[name]):
        name, count = other[0], f"{len(other)} classes have" if len(other) > 1 else "1 class has"
        found = (
            f"{count} another label in the edits than in the real pictures, such as {name!r}: {there[name]} there, "
            f"{here[name]} here. `augment` and torchvision sort folders by letters; timm reads digits as numbers. Give "
            "the real pictures the labels of the edits (in timm by class_map), or make edits of the same classes"
        )
        if len(other) > 1 or here is folders[0]:
            raise InputError(found)
        warnings.warn(found, stacklevel=3)


def _some(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in sorted(names)[:_SHOWN])


def _labels_of_words(named: Mapping[str, int]) -> dict[str, int]:
    """Return word -> label: a folder `003.red_fox` is the red fox of prompts. A word of several classes is left out."""
    own = without_numbers({label: name for name, label in named.items()})
    words = {label: " ".join(name.replace("_", " ").split()) for label, name in own.items()}
    counts = Counter(words.values())
    return {word: label for label, word in words.items() if counts[word] == 1}
