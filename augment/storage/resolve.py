"""The choice of a store by the path or URL of an output folder."""

from __future__ import annotations

from pathlib import Path

from augment.storage.local_store import LocalStore
from augment.storage.object_store import ObjectStore
from augment.storage.store import Store


def open_store(url: Path | str) -> Store:
    """Return the store of an output folder, given as a local path or a URL.

    Raises:
        StoreError: if there is no store for that URL.
    """
    text = str(url).removeprefix("file://")
    if "://" not in text:
        return LocalStore(text)
    return ObjectStore(text)
