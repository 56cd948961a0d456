"""Datasets that installed packages carry, such as `embedded:train`.

A package registers them as an entry point of the group `augment.datasets`: its name is the prefix, and its object a
function from the name after the colon to the path of a tar, which raises ValueError for a name it does not know.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import entry_points

from augment.errors import InputError

GROUP = "augment.datasets"


def packaged_path(path: str | Sequence[str]) -> str | None:
    """Return the tar that a name such as `embedded:train` stands for; None if no package has registered the prefix.

    A list of files is no such name.

    Raises:
        InputError: if the package has no dataset of that name.
    """
    if not isinstance(path, str):
        return None
    prefix, colon, name = path.partition(":")
    found = entry_points(group=GROUP, name=prefix) if colon else ()
    for entry in found:
        try:
            return str(entry.load()(name))
        except ValueError as error:
            raise InputError(f"{path}: {error}") from error
    return None
