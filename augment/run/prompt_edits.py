"""What a person has changed in a table of prompts, when the table is made anew."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from augment.run.prompt_table import ABSENT, PromptRow, RowId, read_edited, read_made
from augment.run.table_files import HEAD, place_of
from augment.storage.store import Store


@dataclass(frozen=True)
class MergedTable:
    """Rows that were made anew, and what a person had changed.

    Attributes:
        made: rows as they were made; with those that nobody would make now, but a person had changed.
        edited: the same with the changes.
        changes: number of rows of the job's images that a person had changed, added or deleted.
        set_aside: the same of images that the job does not have now.
        beyond: number of changed rows among `changes` that are not made any more.
    """

    made: list[PromptRow]
    edited: list[PromptRow]
    changes: int = 0
    set_aside: int = 0
    beyond: int = 0

    def warnings(self, name: str) -> list[str]:
        """Return what to point out; `name` is what messages call the CSV."""
        if not self.beyond:
            return []
        return [
            f"{name}: {self.beyond} rows that you have changed are no prompts that are drawn now (there are fewer "
            "variants, or the guards refuse the prompt as it was made): they stay, and are edits. Delete those that "
            "you do not want"
        ]


def rows_before(store: Store, keys: Collection[str]) -> dict[str, PromptRow]:
    """Return a row of the table in a folder, as it was made, for each of these images that has one.

    Args:
        store: of the folder.
        keys: of the images.

    Raises:
        ConfigError: if the table that is there cannot be used.
    """
    before = read_made(store) if keys else None
    return {row.key: row for row in (before or {}).values() if row.key in keys and row.prompt and row.made_of != ABSENT}


def merged_table(store: Store, made: Sequence[PromptRow], made_of: Mapping[str, str]) -> MergedTable:
    """Return rows that were made anew with what a person has changed in the table in a folder.

    Args:
        store: of the folder.
        made: now.
        made_of: key of each of the job's images -> `PromptRow.made_of`.

    Raises:
        ConfigError: if the table that is there cannot be used.
    """
    before = read_made(store) or {}  # without it no row of the CSV can be told from one that a person has written
    edited = read_edited(store, before, made_of.keys())
    if edited is None:
        return MergedTable(list(made), list(made))
    if not store.exists(place_of(store, HEAD)):
        # An earlier version was stopped between two files: images that are not in the CSV were not deleted from it.
        in_csv = {row.key for row in edited.values()}
        before = {row_id: row for row_id, row in before.items() if row.key in in_csv}
    return with_changes(made, made_of, before, edited)


def with_changes(
    made: Sequence[PromptRow],
    made_of: Mapping[str, str],
    before: Mapping[RowId, PromptRow],
    edited: Mapping[RowId, PromptRow],
) -> MergedTable:
    """Return rows that were made anew with what a person had changed in those before. No change is lost.

    What a person had not changed is as it is made now. Rows that a person had changed or deleted, and that are not made
    now, stay: another limit, number of variants or blocklist would make them again.

    Args:
        made, made_of: as for `merged_table`.
        before: as they were made before.
        edited: as the CSV had them.
    """
    captions = _Captions(made, before, edited)
    before = {row_id: row for row_id, row in before.items() if row.prompt}  # empty: the row was a person's own
    rows, kept, edits = list(made), list[PromptRow](), list[PromptRow]()
    changes = 0
    for row in made:
        old, new = before.get(row.id), edited.get(row.id)
        if old is not None and new is None:
            changes += 1  # deleted
            continue
        prompt = row.prompt if new is None or (old is not None and new.prompt == old.prompt) else new.prompt
        changes += _is_changed(new, old or row)
        edits.append(replace(row, prompt=prompt, source_prompt=captions.of(row, new)))
    have = {row.id for row in made}
    of_job = beyond = set_aside = 0
    for row_id in [row_id for row_id in {**before, **edited} if row_id not in have]:
        old, new = before.get(row_id), edited.get(row_id)
        if new is not None and not _is_changed(new, old):
            continue
        is_here = row_id[0] in made_of
        known = made_of.get(row_id[0], ABSENT)
        if old is not None:
            kept.append(replace(old, made_of=known))
        elif not is_here and new is not None:
            kept.append(replace(new, prompt="", made_of=known))  # by which its image is known
        if new is not None:
            edits.append(replace(new, made_of=known, source_prompt=captions.of(new, new)))
        set_aside += not is_here
        of_job += is_here and new is not None
        beyond += is_here and new is not None and old is not None
    return MergedTable([*rows, *kept], edits, changes + of_job, set_aside, beyond)


class _Captions:
    """The source prompts of images: what a person has written, and otherwise what they are now.

    Args:
        made, before, edited: as for `with_changes`.
    """

    def __init__(
        self, made: Sequence[PromptRow], before: Mapping[RowId, PromptRow], edited: Mapping[RowId, PromptRow]
    ) -> None:
        self._now = {row.key: row.source_prompt for row in made}
        self._was = {row.key: row.source_prompt for row in before.values() if row.prompt}
        self._told: dict[str, str] = {}
        for row in edited.values():
            if self._is_told(row):
                self._told.setdefault(row.key, row.source_prompt)

    def of(self, row: PromptRow, edited: PromptRow | None) -> str:
        """Return the source prompt for a row, of which `edited` is in the CSV; None if it is not there."""
        if edited is not None and self._is_told(edited):
            return edited.source_prompt
        return self._told.get(row.key) or self._now.get(row.key, row.source_prompt)

    def _is_told(self, row: PromptRow) -> bool:
        return row.source_prompt != self._was.get(row.key, "")


def _is_changed(new: PromptRow | None, old: PromptRow | None) -> bool:
    if new is None or old is None:
        return new is not None
    return (new.prompt, new.source_prompt) != (old.prompt, old.source_prompt)
