"""Names of images -> keys that are legal in tars and distinct.

A key is the same whatever else is in the dataset, as long as no other image has the same name: with `000.jpg` in a
second tar, or `cat/0.png` beside `cat/0.jpg`, all images of that name get a hash, the old ones too. Which of them is
the old one cannot be told from the files.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Sequence

from augment.errors import InputError
from augment.storage.tar import KEY_PATTERN


def unique_keys(names: Sequence[str], full_name: Callable[[int], str], where: Callable[[int], str]) -> list[str]:
    """Return one key per image; a hash of the full name is added wherever the name alone could stand for two images.

    Args:
        names: a short name per image, such as its path without extension.
        full_name: index -> what tells the image from every other one, such as its path.
        where: index -> the place to name in a message.

    Raises:
        InputError: if two images have the same full name.
    """
    keys = [legal_key(name) for name in names]
    repeated = {key for key, count in Counter(keys).items() if count > 1}
    taken: dict[str, int] = {}
    for i, name in enumerate(names):
        # A name that a key cannot have gets the hash even while it is unique: `a.b` must not change once `a_b` joins.
        if keys[i] == name and name not in repeated:
            continue
        key = f"{keys[i]}-{_short_hash(full_name(i))}"
        if keys[i] in repeated and (first := taken.setdefault(key, i)) != i:
            both = f"{where(first)} and {where(i)} are both called {full_name(i)!r}"
            raise InputError(f"{both}; give the images distinct names")
        keys[i] = key
    return keys


def legal_key(name: str) -> str:
    """Return a name with an underscore for every character that a key cannot have."""
    return name if KEY_PATTERN.fullmatch(name) else re.sub(r"[^A-Za-z0-9_/-]", "_", name)


def without_hash(key: str) -> str:
    """Return a key without the hash at its end, if it has one."""
    return re.sub(r"-[0-9a-f]{8}$", "", key)


def _short_hash(name: str) -> str:
    """Return eight hexadecimal digits of the hash of a file name, which on POSIX is bytes and need not be UTF-8."""
    return hashlib.sha256(name.encode(errors="surrogateescape")).hexdigest()[:8]
