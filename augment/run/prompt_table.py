"""The files of `augment prompts`, in a folder of their own:

    prompts.parquet    every edit's prompt as it was made
    prompts.csv        the same, to be edited by a person: what is in here is what `expand` uses
    prompts.json       what they were made of

In the CSV a row that is deleted, or whose prompt is empty, is an edit that is not wanted; a row that is added, with a
number of its own, is one more. How the files are replaced: see `table_files`.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from augment.errors import ConfigError
from augment.run.table_files import EDITED_TABLE, HEAD, MADE, place_of, replace_table
from augment.storage.parquet import read_parquet
from augment.storage.store import Store
from augment.types import PlannedSource, Source, Variant

FORMAT = 1
ABSENT = "absent"
_COLUMNS = ("key", "variant", "class_name", "prompt", "source_prompt")
_REQUIRED = ("key", "variant", "prompt")
_SHOWN = 10
_AGAIN = "run `augment prompts` again, or remove the folder to do without"
_ANEW = "remove it and run `augment prompts` again: then every row of {} counts as changed by you, and stays"

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
        made_of: hash of what the prompts of the image were made of; `ABSENT` for a row that is kept, because a person
            has changed it, though the job did not have its image; "" where nobody has taken note.
        line: in the CSV; 0 for a row that is in none.
    """

    key: str
    variant: int
    class_name: str
    prompt: str
    source_prompt: str
    attributes: dict[str, str] = field(default_factory=dict)
    varied_from: str = ""
    made_of: str = ""
    line: int = 0

    @property
    def id(self) -> RowId:
        """Return which edit it is."""
        return self.key, self.variant


def table_rows(planned: Iterable[PlannedSource], made_of: Callable[[Source], str]) -> Iterator[PromptRow]:
    """Yield the rows of planned edits; `made_of` returns the hash of an image for `PromptRow.made_of`."""
    for p in planned:
        key, name, known = p.source.key, p.source.class_name, made_of(p.source)
        for v in p.variants:
            yield PromptRow(key, v.index, name, v.prompt, p.source_prompt, dict(v.attributes), made_of=known)


def write_table(store: Store, made: Sequence[PromptRow], edited: Iterable[PromptRow], head: Mapping[str, Any]) -> None:
    """Write the three files.

    Args:
        made: rows as they were made.
        edited: rows with what a person has changed.
        head: what they were made of (`settings`), and the images that have no prompt (`without`): their keys, or
            `PromptRow.made_of` by key.
    """
    columns: dict[str, list[Any]] = {name: [getattr(row, name) for row in made] for name in _COLUMNS}
    columns["attributes"] = [json.dumps(row.attributes, sort_keys=True) for row in made]
    columns |= {name: [getattr(row, name) for row in made] for name in ("varied_from", "made_of")}
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer, compression="zstd")
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    writer.writerows([getattr(row, name) for name in _COLUMNS] for row in edited)
    content = (json.dumps({"format": FORMAT, **head}, indent=2) + "\n").encode()
    replace_table(store, text.getvalue().encode(), buffer.getvalue(), content)


def read_head(store: Store) -> dict[str, Any] | None:
    """Return what the prompts in a folder were made of; None if that is not there.

    Raises:
        ConfigError: if the file is not readable.
    """
    data = store.read_if_there(place_of(store, HEAD))
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
    data = store.read_if_there(place_of(store, MADE))
    if data is None:
        return None
    try:
        rows = read_parquet(data).to_pylist()
        attributes = {text: json.loads(text) for text in {row["attributes"] for row in rows}}  # one for each cell
        made = [PromptRow(**row | {"attributes": attributes[row["attributes"]]}) for row in rows]
    except (pa.ArrowException, KeyError, TypeError, ValueError) as error:
        problem = f"{store.at(MADE)} is not readable ({error}); {_ANEW.format(store.at(EDITED_TABLE))}"
        raise ConfigError(store.url, [problem]) from error
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


def digest_of_rows(rows: Collection[PromptRow], num_variants: int) -> str:
    """Return a hash of what edits depend on.

    Args:
        num_variants: edits that the config wants of each image.
    """
    state = hashlib.sha256()
    if max(Counter(row.key for row in rows).values(), default=0) > num_variants:
        state.update(b"all rows\n")  # earlier plans have only so many of each image
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
