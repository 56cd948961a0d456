"""The files of a table of prompts when a write breaks off: all of before, or all of after, and no change is lost."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from augment.run.prompt_edits import merged_table
from augment.run.prompt_table import PromptRow, read_edited, read_head, read_made, write_table
from augment.storage.local_store import LocalStore
from augment.storage.resolve import open_store
from augment.storage.store import Store

STEPS = ("write", "move", "remove", "clear")
KEYS = {f"fox/{i}": f"made of {i}" for i in range(4)}


class Killed(BaseException):
    """The end of the process."""


def rows_of(*keys: str, prompt: str = "a fox on snow") -> list[PromptRow]:
    return [
        PromptRow(key, i, "fox", f"{prompt} {i}", "a fox", {"place": "snow"}, made_of=KEYS[key])
        for key in keys
        for i in range(2)
    ]


BEFORE = rows_of("fox/0", "fox/1", "fox/2")
# Another template, an image more, and one less.
AFTER = rows_of("fox/0", "fox/1", "fox/3", prompt="a fox in rain")
EDITED = [replace(BEFORE[0], prompt="my fox"), *BEFORE[2:]]  # the second is deleted


def head(name: str) -> dict[str, object]:
    return {"settings": {"prompts": name}, "without": {}}


def make(store: Store, rows: list[PromptRow], name: str) -> None:
    """Make a table anew, as `augment prompts` does."""
    table = merged_table(store, rows, {row.key: row.made_of for row in rows})
    write_table(store, table.made, table.edited, head(name))


def content(store: Store) -> tuple[object, object, object]:
    """What a reader finds: the settings, the rows as they were made, and the rows of the CSV."""
    found, made = read_head(store), read_made(store)
    edited = read_edited(store, made or {}, ())
    texts = [(row.id, row.prompt) for row in (edited or {}).values()]
    return found and found["settings"], made, texts


def store_of(name: str, tmp_path: Path) -> Store:
    """A folder, or an object store, which moves a file by a copy and a deletion."""
    return open_store(str(tmp_path) if name == "disk" else f"memory://{tmp_path}")


@pytest.fixture(params=["disk", "object store"])
def fresh(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Store]:
    """Returns a new store each time, with the table of before, which a person has changed."""
    numbers = iter(range(1000))
    first = store_of(request.param, tmp_path / "first")
    write_table(first, BEFORE, EDITED, head("before"))
    files = {name: first.read(name) for name in first.list()}

    def new() -> Store:
        folder = tmp_path / str(next(numbers))
        store = store_of(request.param, folder)
        if request.param == "disk":
            folder.mkdir()
        for name, data in files.items():
            (folder / name).write_bytes(data) if request.param == "disk" else store.write(name, data)
        return store

    return new


class Breaking:
    """Breaks off a store's changes at the n-th, before it is done or after."""

    def __init__(self, store: Store, at: int, error: BaseException, *, after: bool) -> None:
        self.left, self.error, self.after = at, error, after
        self.whole = {name: getattr(store, name) for name in STEPS}
        self.store = store

    def __enter__(self) -> None:
        for name in STEPS:
            setattr(self.store, name, self._step(name))

    def __exit__(self, *_: object) -> None:
        for name in STEPS:
            delattr(self.store, name)

    def _step(self, name: str) -> Callable[..., None]:
        def step(*arguments: object) -> None:
            self.left -= 1
            if self.left < 0 and not self.after:
                raise self.error
            self.whole[name](*arguments)
            if self.left < 0:
                raise self.error

        return step


def breaks(fresh: Callable[[], Store], error: BaseException) -> Iterator[Store]:
    """Yield the store after a making that broke off, for every change of a file that there is."""
    for after in (False, True):
        for at in range(100):
            store = fresh()
            try:
                with Breaking(store, at, error, after=after):
                    make(store, AFTER, "after")
            except type(error):
                yield store
                continue
            break
        assert 5 <= at < 100


def test_a_write_that_breaks_off_leaves_one_table_or_the_other(fresh: Callable[[], Store]) -> None:
    store = fresh()
    before = content(store)
    make(store, AFTER, "after")
    after = content(store)
    found = []
    for broken in breaks(fresh, OSError(errno.ENOSPC, "No space left on device")):
        found.append(content(broken))
        assert found[-1] in (before, after)
        make(broken, AFTER, "after")
        assert content(broken) == after
        assert not broken.list("next")
    assert before in found and after in found


def test_a_copy_that_was_not_deleted_yet_counts_as_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An object store moves a file in two steps."""
    store = store_of("object store", tmp_path)
    write_table(store, BEFORE, EDITED, head("before"))
    write_table(expected := store_of("object store", tmp_path / "whole"), BEFORE, EDITED, head("before"))
    make(expected, AFTER, "after")
    with monkeypatch.context() as patch:
        remove = store.remove

        def breaks_off(names: object) -> None:
            if (listed := list(names)) == ["next/prompts.csv"]:  # type: ignore[call-overload]
                raise Killed
            remove(listed)

        patch.setattr(store, "remove", breaks_off)
        with pytest.raises(Killed):
            make(store, AFTER, "after")
    assert store.exists("next/prompts.csv")
    assert content(store) == content(expected)
    make(store, AFTER, "after")
    assert content(store) == content(expected)


def test_what_is_changed_after_a_break_stays_and_new_images_get_their_rows(fresh: Callable[[], Store]) -> None:
    for store in breaks(fresh, Killed()):
        text = store.read("prompts.csv").decode()
        if store.read_if_there("next/prompts.csv") == text.encode():
            continue  # between the copy and the deletion of an object store
        lines = text.splitlines()
        place = next(i for i, line in enumerate(lines) if line.startswith("fox/1,1,"))
        lines[place] = "fox/1,1,fox,your fox,a fox"
        store.write("prompts.csv", ("\n".join(lines) + "\n").encode())
        third = rows_of("fox/0", "fox/1", "fox/3", prompt="a fox at night")  # the prompts are others once more
        make(store, third, "third")
        _, made, edited = content(store)
        assert edited == [
            (("fox/0", 0), "my fox"),
            (("fox/1", 0), "a fox at night 0"),
            (("fox/1", 1), "your fox"),
            (("fox/3", 0), "a fox at night 0"),
            (("fox/3", 1), "a fox at night 1"),
        ]
        assert made == {row.id: row for row in third}


def test_the_first_table_is_there_or_it_is_not(tmp_path: Path) -> None:
    numbers = iter(range(100))
    for store in breaks(lambda: LocalStore(tmp_path / str(next(numbers))), Killed()):
        settings, made, edited = content(store)
        if settings is None:
            assert made is None and edited == []
            assert not store.exists("prompts.csv")
        else:
            assert made == {row.id: row for row in AFTER}
        make(store, AFTER, "after")
        assert content(store)[0] == {"prompts": "after"}


def test_a_write_of_an_earlier_version_that_broke_off_does_not_count_as_deletions(tmp_path: Path) -> None:
    """It wrote the prompts as made, then the CSV, then the head; here it was stopped before the CSV."""
    store, after = LocalStore(tmp_path), [*BEFORE, *rows_of("fox/3")]
    write_table(store, BEFORE, EDITED, head("before"))
    csv = store.read("prompts.csv")
    write_table(store, after, after, head("after"))
    store.write("prompts.csv", csv)
    store.remove(["prompts.json"])
    make(store, after, "after")
    _, made, edited = content(store)
    assert edited == [(row.id, row.prompt) for row in [*EDITED, *rows_of("fox/3")]]
    assert made == {row.id: row for row in after}


def test_a_csv_without_the_prompts_as_they_were_made_stays_as_it_is(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    write_table(store, BEFORE, EDITED, head("before"))
    store.remove(["prompts.parquet"])
    make(store, BEFORE, "before")
    assert content(store)[2] == [(row.id, row.prompt) for row in [EDITED[0], BEFORE[1], *BEFORE[2:]]]
