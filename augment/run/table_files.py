"""The three files of a table of prompts, replaced as one.

The new ones are written into `next/` first: the CSV, then the prompts as they were made, then the head. Then the CSV is
moved into the place of the present one. This one step decides. Before it, all three files are those of before; after
it, all three are the new ones, though the other two may still lie in `next/`. So whenever a write breaks off, and
whatever a person changes in prompts.csv afterwards, there is no doubt to which prompts the CSV belongs.

An object store moves by copying and deleting. A break between these two is known by both CSVs being equal; if a person
changes prompts.csv before the next write, they are not, and what is new in it counts as changed by that person.
"""

from __future__ import annotations

from augment.storage.store import Store

HEAD, MADE, EDITED_TABLE = "prompts.json", "prompts.parquet", "prompts.csv"
_NEXT = "next"


def place_of(store: Store, name: str) -> str:
    """Return under which name `HEAD` or `MADE` of the table that counts is stored, if it is there at all.

    Raises:
        OutputError: if the folder cannot be read.
    """
    staged = f"{_NEXT}/{name}"
    return staged if store.read_if_there(staged) is not None and _is_decided(store) else name


def replace_table(store: Store, edited: bytes, made: bytes, head: bytes) -> None:
    """Write the three files. If that breaks off, the table is the whole one of before, or the whole new one.

    Args:
        store: of the folder of prompts; no one else writes there meanwhile.
        edited, made, head: content of `EDITED_TABLE`, `MADE` and `HEAD`.
    """
    _settle(store)
    store.remove([f"{_NEXT}/{HEAD}"])  # of a write that broke off before it was decided; its CSV is still there
    store.write(f"{_NEXT}/{EDITED_TABLE}", edited)
    store.write(f"{_NEXT}/{MADE}", made)
    store.write(f"{_NEXT}/{HEAD}", head)
    store.move({f"{_NEXT}/{EDITED_TABLE}": EDITED_TABLE})
    _settle(store)


def _is_decided(store: Store) -> bool:
    """Return whether the files in `next/` are those of the table that counts."""
    if not store.exists(f"{_NEXT}/{HEAD}"):
        return False
    waiting = store.read_if_there(f"{_NEXT}/{EDITED_TABLE}")
    return waiting is None or waiting == store.read_if_there(EDITED_TABLE)


def _settle(store: Store) -> None:
    """Move what is decided to its place."""
    if not _is_decided(store):
        return
    store.remove([f"{_NEXT}/{EDITED_TABLE}"])
    for name in (MADE, HEAD):  # the head last: it says that they are decided
        if store.exists(f"{_NEXT}/{name}"):
            store.move({f"{_NEXT}/{name}": name})
    store.clear(_NEXT)
