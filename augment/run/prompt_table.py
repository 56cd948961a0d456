"""The files of `augment prompts`, in a folder of their own:

    prompts.parquet    every edit's prompt as it was made
    prompts.csv        the same, to be edited by a person: what is in here is what `expand` uses
    prompts.json       what they were made of; written last

In the CSV a row that is deleted, or whose prompt is empty, is an edit that is not wanted; a row that is added, with a
number of its own, is one more.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from augment.errors import ConfigError
from augment.storage.store import Store
from augment.types import PlannedSource, Variant

HEAD, MADE, EDITED_TABLE = "prompts.json", "prompts.parquet", "prompts.csv"
FORMAT = 1
_COLUMNS = ("key", "variant", "class_name", "prompt", "source_prompt")
_REQUIRED = ("key", "variant", "prompt")
_SHOWN = 10
_AGAIN = "run `augment prompts` again, or remove the folder to do without"

RowId = tuple[str, int]  # source key, number of the variant


@dataclass(frozen=True, slots=True)
class PromptRow:
    """One wanted edit.

    Attributes:
        key, variant: which edit it is.
        class_name: of the image.
        prompt: target prompt.
        source_prompt: of the image.
        attributes: cell of the grid that the prompt is of; of an edited prompt that which it was made of.
        varied_from: the prompt that a language model was given; "" if there was none.
        line: in the CSV; 0 for a row that is in none.
    """

    key: str
    variant: int
    class_name: str
    prompt: str
    source_prompt: str
    attributes: dict[str, str] = field(default_factory=dict)
    varied_from: str = ""
    line: int = 0

    @property
    def id(self) -> RowId:
        """Return which edit it is."""
        return self.key, self.variant


def table_rows(planned: Iterable[PlannedSource]) -> Iterator[PromptRow]:
    """Yield the rows of planned edits."""
    for p in planned:
        for v in p.variants:
            yield PromptRow(p.source.key, v.index, p.source.class_name, v.prompt, p.source_prompt, dict(v.attributes))


def write_table(store: Store, made: Sequence[PromptRow], edited: Iterable[PromptRow], head: Mapping[str, Any]) -> None:
    """Write the three files.

    Args:
        made: rows as they were made.
        edited: rows with what a person has changed.
        head: what they were made of (`settings`), and the keys of the images that have no prompt (`without`).
    """
    columns: dict[str, list[Any]] = {name: [getattr(row, name) for row in made] for name in _COLUMNS}
    columns["attributes"] = [json.dumps(row.attributes, sort_keys=True) for row in made]
    columns["varied_from"] = [row.varied_from for row in made]
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer, compression="zstd")
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    writer.writerows([getattr(row, name) for name in _COLUMNS] for row in edited)
    store.remove([HEAD])
    store.write(MADE, buffer.getvalue())
    store.write(EDITED_TABLE, text.getvalue().encode())
    store.write(HEAD, (json.dumps({"format": FORMAT, **head}, indent=2) + "\n").encode())


def read_head(store: Store) -> dict[str, Any] | None:
    """Return what the prompts in a folder were made of; None if there are none, or not all.

    Raises:
        ConfigError: if the file is not readable.
    """
    data = store.read_if_there(HEAD)
    if data is None:
        return None
    try:
        head = json.loads(data)
        if head["format"] == FORMAT and isinstance(head["settings"], dict):
            return dict(head)
    except (ValueError, KeyError, TypeError):
        pass
    raise ConfigError(store.url, [f"{store.at(HEAD)} is not readable, or of another version; {_AGAIN}"])


def read_made(store: Store) -> dict[RowId, PromptRow] | None:
    """Return the rows as they were made; None if there are none. Raises ConfigError if they are not readable."""
    data = store.read_if_there(MADE)
    if data is None:
        return None
    try:
        rows = pq.read_table(io.BytesIO(data)).to_pylist()
        attributes = {text: json.loads(text) for text in {row["attributes"] for row in rows}}  # one for each cell
        made = [PromptRow(**row | {"attributes": attributes[row["attributes"]]}) for row in rows]
    except (pa.ArrowException, KeyError, TypeError, ValueError) as error:
        raise ConfigError(store.url, [f"{store.at(MADE)} is not readable ({error}); {_AGAIN}"]) from error
    return {row.id: row for row in made}


def read_edited(store: Store, made: Mapping[RowId, PromptRow], keys: Collection[str]) -> dict[RowId, PromptRow] | None:
    """Return the rows of the CSV, in its order, without those whose prompt is empty; None if there is no CSV.

    Args:
        made: rows as they were made: what the CSV does not say of a row is taken from there.
        keys: of the job's images, which added rows may be for.

    Raises:
        ConfigError: with the first ten of the rows that cannot be used, by line.
    """
    data = store.read_if_there(EDITED_TABLE)
    if data is None:
        return None
    name, problems = store.at(EDITED_TABLE), list[str]()
    of_key = {row.key: row for row in made.values()}
    rows: dict[RowId, PromptRow] = {}
    for line, values in _csv_rows(data, name):
        row = _row(line, values, made, of_key, keys)
        if isinstance(row, str):
            problems.append(f"{name}:{line}: {row}")
        elif row.id in rows:
            problems.append(f"{name}:{line}: variant {row.variant} of {row.key!r} is on line {rows[row.id].line}, too")
        else:
            rows[row.id] = row
    raise_some(name, problems)
    return {row_id: row for row_id, row in rows.items() if row.prompt}


def raise_some(name: str, problems: Sequence[str]) -> None:
    """Raise ConfigError with the first ten problems, if there is any."""
    if problems:
        more = [f"... and {len(problems) - _SHOWN} more"] if len(problems) > _SHOWN else []
        raise ConfigError(name, [*problems[:_SHOWN], *more])


def with_edits(
    made: Sequence[PromptRow], before: Mapping[RowId, PromptRow], edited: Mapping[RowId, PromptRow]
) -> tuple[list[PromptRow], int]:
    """Return rows that were made anew with what a person had changed in those before, and how many changes stayed.

    Args:
        made: now.
        before: as they were made before.
        edited: as the CSV had them.
    """
    rows, changes = [], 0
    keys = {row.key for row in made}
    for row in made:
        old, new = before.get(row.id), edited.get(row.id)
        if old is not None and new is None:
            changes += 1  # deleted
            continue
        if new is not None and (old is None or (old.prompt, old.source_prompt) != (new.prompt, new.source_prompt)):
            row, changes = replace(row, prompt=new.prompt, source_prompt=new.source_prompt), changes + 1
        rows.append(row)
    have = {row.id for row in made}
    added = [row for row in edited.values() if row.id not in have | before.keys() and row.key in keys]
    return rows + added, changes + len(added)


def digest_of_rows(rows: Iterable[PromptRow]) -> str:
    """Return a hash of what edits depend on."""
    state = hashlib.sha256()
    for row in sorted(rows, key=lambda row: row.id):
        content = [row.key, row.variant, row.class_name, row.prompt, row.source_prompt, row.attributes]
        state.update(json.dumps(content, sort_keys=True).encode() + b"\n")
    return state.hexdigest()[:16]


def by_source(rows: Iterable[PromptRow]) -> dict[str, tuple[str, tuple[Variant, ...]]]:
    """Return source key -> its source prompt, and its variants by number."""
    found: dict[str, tuple[str, list[Variant]]] = {}
    for row in sorted(rows, key=lambda row: row.id):
        found.setdefault(row.key, (row.source_prompt, []))[1].append(Variant(row.variant, row.prompt, row.attributes))
    return {key: (prompt, tuple(variants)) for key, (prompt, variants) in found.items()}


def _row(
    line: int,
    values: Mapping[str, str],
    made: Mapping[RowId, PromptRow],
    of_key: Mapping[str, PromptRow],
    keys: Collection[str],
) -> PromptRow | str:
    """Return a row of the CSV, or what is wrong with it."""
    key, number = values["key"], values["variant"]
    if not (number.isascii() and number.isdecimal()):
        return f"variant {number!r} is no number, counted from 0"
    row_id = key, int(number)
    if key not in of_key and key not in keys:
        return f"there is no image {key!r}"
    like = made.get(row_id) or of_key.get(key)
    words = " ".join(values["prompt"].split())
    caption = " ".join(values.get("source_prompt", "").split()) or (like.source_prompt if like else "")
    if row_id in made:
        return replace(made[row_id], prompt=words, source_prompt=caption, line=line)
    class_name = like.class_name if like else values.get("class_name", "")
    return PromptRow(key, row_id[1], class_name, words, caption, line=line)


def _csv_rows(data: bytes, name: str) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield line and values by column. Commas, semicolons or tabs stand between them, as spreadsheets write them."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(name, [f"{name}: is not in UTF-8 ({error}); save it as `CSV UTF-8`"]) from error
    header_line = text.partition("\n")[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=header_line.count), strict=True)
    header: list[str] = []
    problems: list[str] = []
    while True:
        line = reader.line_num + 1
        try:
            row = next(reader, None)
        except csv.Error as error:
            raise ConfigError(name, [f"{name}:{line}: not valid CSV: {error}"]) from error
        if row is None:
            break
        if not any(row):
            continue
        if not header:
            header = [column.strip() for column in row]
            if absent := [column for column in _REQUIRED if column not in header]:
                raise ConfigError(name, [f"{name}: the first line has no column {', '.join(map(repr, absent))}"])
        elif len(row) != len(header):
            problems.append(f"{name}:{line}: {len(row)} values, but the first line has {len(header)}")
        else:
            yield line, dict(zip(header, row, strict=True))
    raise_some(name, problems)
    if not header:
        raise ConfigError(name, [f"{name}: is empty; the first line must name the columns {', '.join(_COLUMNS)}"])
