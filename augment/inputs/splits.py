"""Names of the parts of a dataset: which files and folders are for training, and which are measured on."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

TRAINING = ("train", "training", "trn")
OTHER_SPLITS = ("val", "valid", "validation", "dev", "eval", "test", "testing", "tst", "holdout", "pred")
_WORDS = "|".join(sorted((*TRAINING, *OTHER_SPLITS), key=len, reverse=True))
# The word stands in front, or behind another one: `train2017`, `test-000.tar`, `seg_train`. `trainval` is neither.
_NAME = re.compile(rf"((?:.*?[\W\d_])??)({_WORDS})(?![^\W\d_])(.*)", re.IGNORECASE | re.DOTALL)
# Behind the word folders of splits have no more than this; `test_tube` and `training shoe` are classes.
_AFTER_IN_FOLDERS = re.compile(
    r"([\W\d_]|set|split|data|dataset|images?|imgs?|pics|pictures|photos|files|folder)*", re.IGNORECASE
)


class PartName(NamedTuple):
    """What a name says about a part of a dataset.

    Attributes:
        before: what stands before the word for the split: `seg_` of `seg_train`.
        split: that word, as written.
    """

    before: str
    split: str

    @property
    def is_training(self) -> bool:
        """Return whether the part is for training."""
        return self.split.lower() in TRAINING


def parts_among(names: Iterable[str], *, folders: bool = False) -> tuple[dict[str, PartName], dict[str, PartName]]:
    """Return which names are those of splits, and which contain a split's word but need not be.

    A name that begins with the word is a split's. With something before it (`seg_train`, `cifar-test-0.tar`) it is one
    only if a part for training and another one have the same before it: `steam_train` and `blood_test` are none.

    Args:
        folders: the names are those of folders, whose classes have names, too; otherwise of files.
    """
    found = {}
    for name in names:
        if (match := _NAME.fullmatch(name)) and (not folders or _AFTER_IN_FOLDERS.fullmatch(match[3])):
            found[name] = PartName(match[1], match[2])
    kinds = defaultdict[str, set[bool]](set)
    for part in found.values():
        kinds[part.before.casefold()].add(part.is_training)
    sure = {name: part for name, part in found.items() if not part.before or len(kinds[part.before.casefold()]) == 2}
    return sure, {name: part for name, part in found.items() if name not in sure}
