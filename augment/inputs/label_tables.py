"""Tables that lie beside images: those that are manifests, and why others, which may say the classes, are not."""

from __future__ import annotations

import os
from collections.abc import Sequence

from augment.errors import InputError
from augment.inputs.locate import join
from augment.inputs.manifest_rows import COLUMNS, EXTENSIONS, REQUIRED, Problems, read_manifest_rows

_OTHER_TABLES = (".tsv", ".json", ".xlsx", ".xls", ".ods")


def read_tables(folder: str, files: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Return those of the files in a folder that are manifests, and of every other table why it is none.

    Of a table the columns and the first row are read.
    """
    manifests, unread = [], {}
    for name in files:
        ending = os.path.splitext(name)[1].lower()
        if ending in EXTENSIONS:
            if why := _why_no_manifest(join(folder, name)):
                unread[name] = why
            else:
                manifests.append(name)
        elif ending in _OTHER_TABLES:
            unread[name] = f"a manifest is a file with the extension {', '.join(EXTENSIONS)}"
    return manifests, unread


def _why_no_manifest(file: str) -> str:
    """Return what is wrong with the columns or the first row of a table; "" if it is a manifest."""
    problems = Problems()
    try:
        row = next(read_manifest_rows(file, problems), None)
    except InputError as error:
        return str(error).removeprefix(f"{file}: ")
    if row is None:
        return problems.first or "it has no row"
    absent = [name for name, value in zip(COLUMNS, row[1], strict=True) if name in REQUIRED and value is None]
    # Of JSON only: the columns of other tables are known before the first row.
    return f"its first row has no {' and no '.join(map(repr, absent))}" if len(absent) == len(REQUIRED) else ""
