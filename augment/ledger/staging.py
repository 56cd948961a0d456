"""Changes of an output folder that only the holder of its lease can make, however long it was suspended in between.

    run/publishing/<number>/...    files that the holder of the lease of that number has made and not yet put in place

Whoever takes the lease over removes the folders of lower numbers first (`fence`). Files come into place by a move out
of the folder, and go by a move into it, after the holder has asked the store whether its lease is the last. So where a
driver was suspended between that question and the move, the move fails: there is nothing left to be moved, or nowhere
to. In an object store there is no such step to remove a file; see `Store.withdraw`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from augment.storage.store import Store

FOLDER = "run/publishing"
_MOVED_AT_ONCE = 32  # files moved between two questions


def fence(store: Store, number: int) -> None:
    """Remove what the holders of leases before this number have staged; what they do with it from now on fails."""
    for name in store.folders(FOLDER):
        if name.isdecimal() and int(name) < number:
            store.clear(f"{FOLDER}/{name}")


class Staging:
    """The files that one holder of the lease puts in place.

    Args:
        store: the output folder.
        number: of the lease; 0 if none is held.
        confirm: asks the store; raises OutputError if the lease is lost.
    """

    def __init__(self, store: Store, number: int, confirm: Callable[[], None]) -> None:
        self._store, self._confirm = store, confirm
        self._folder = f"{FOLDER}/{number:06d}"

    def put(self, local: Path, name: str) -> None:
        """Stage a finished local file, which is moved; it will be called `name`."""
        self._store.put(local, self._name(name))

    def write(self, name: str, data: bytes) -> None:
        """Stage a small file."""
        self._store.write(self._name(name), data)

    def put_in_place(self, names: Iterable[str]) -> None:
        """Move staged files to their places, one after the other in this order, each in one step.

        Raises:
            OutputError: if the lease is lost. FileNotFoundError: if it is lost between the question and the move.
        """
        wanted = list(names)
        for start in range(0, len(wanted), _MOVED_AT_ONCE):
            self._confirm()
            self._store.move({self._name(name): name for name in wanted[start : start + _MOVED_AT_ONCE]})

    def replace(self, name: str, data: bytes) -> None:
        """Put a small file in its place. Raises as `put_in_place` does."""
        self.write(name, data)
        self.put_in_place([name])

    def remove(self, names: Iterable[str]) -> None:
        """Remove files that are in place. Raises as `put_in_place` does."""
        wanted, folder = sorted(names), self._name(".removed")
        for start in range(0, len(wanted), _MOVED_AT_ONCE):
            self._store.write(
                f"{folder}/folder", b""
            )  # before the question: nothing may make the folder anew behind it
            self._confirm()
            self._store.withdraw(wanted[start : start + _MOVED_AT_ONCE], folder)
        if wanted:
            self._store.clear(folder)

    def clear(self) -> None:
        """Remove what is staged."""
        self._store.clear(self._folder)

    def _name(self, name: str) -> str:
        return f"{self._folder}/{name}"
