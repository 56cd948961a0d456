"""How many images a device has memory for, as the workers of a job have found out: `run/batch_size/KIND.json`.

The kind is that of the device, and of the settings that edits depend on. A worker that begins with `batch_size: auto`
begins where another one, or an earlier run, has ended.
"""

from __future__ import annotations

import hashlib
import json

from augment.storage.store import Store

_FOLDER = "run/batch_size"


class KnownBatchSize:
    """What is known of one kind of device.

    Args:
        store: of the output folder.
        device: what tells it apart from devices with another memory.
        pixels_hash: of the settings that edits depend on: another model needs other memory.
    """

    def __init__(self, store: Store, device: str, pixels_hash: str) -> None:
        self._store, self._device, self._pixels = store, device, pixels_hash
        self._name = f"{_FOLDER}/{hashlib.sha256(repr((device, pixels_hash)).encode()).hexdigest()[:12]}.json"

    def read(self) -> int | None:
        """Return the largest number of images that had memory; None if nothing is known yet, or it cannot be read."""
        found = self._store.read_if_there(self._name)
        try:
            size = json.loads(found)["batch_size"] if found else None
        except (ValueError, TypeError, KeyError):
            return None
        return size if isinstance(size, int) and size > 0 else None

    def write(self, size: int) -> None:
        """Note that memory has run out with more images than these; a smaller number stays."""
        known = self.read()
        if known is None or size < known:
            content = {"batch_size": size, "device": self._device, "pixels": self._pixels}
            self._store.write(self._name, (json.dumps(content, indent=2, sort_keys=True) + "\n").encode())
