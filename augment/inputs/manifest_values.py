"""The values in the rows of a manifest: labels, paths, sizes and texts, each checked."""

from __future__ import annotations

import posixpath
import re
from decimal import Decimal
from numbers import Real
from typing import Any

from augment.inputs.locate import is_url, plain
from augment.types import MAX_LABEL

BY_PATH, BY_FULL_PATH, BY_ID = range(3)  # what identifies an image: a relative path, an absolute one, an id
_EXPECTED = "expected a class index such as 3, or a class name"


def label_value(value: Any) -> int | str:
    """Return a class index or name. Raises ValueError for anything else.

    Parquet and JSON have numbers of several types: what is a whole number is an index. In a text only digits are one:
    `int` would read `1_0` as 10, and digits of other scripts.
    """
    if isinstance(value, Real | Decimal):
        return _index(value)
    text = text_value(value, "label")
    if not text:
        raise ValueError("no label")
    if re.fullmatch(r"[0-9]+", text) and int(text) <= MAX_LABEL:
        return int(text)
    try:
        float(text)
    except ValueError:
        return text
    # -1, 3.0, nan, 1_0: a number that is no index, and hardly a name.
    raise ValueError(f"label is {value!r}, {_EXPECTED}")


def is_unlabelled(value: Any) -> bool:
    """Return whether a value says that there is no label, as rows of test sets do: nothing, NaN or -1."""
    return value is None or value != value or str(value).strip().lower() in ("", "nan", "-1", "-1.0")


def _index(value: Any) -> int:
    if value != value:  # NaN, which is how some programs write that there is none
        raise ValueError("label is nan, so there is no label")
    number = float(value)
    if not (0 <= value <= MAX_LABEL and number.is_integer()):
        raise ValueError(f"label is {value}, {_EXPECTED}")
    return int(value)


def path_value(value: Any) -> tuple[str, int]:
    """Return a path or URL, normalised, and which of the two kinds it is. Raises ValueError."""
    if not value or not isinstance(value, str):
        raise ValueError("no path" if value in (None, "") else f"path is {value!r}, expected text")
    try:
        if "\0" in value or not value.encode(errors="surrogateescape"):
            raise ValueError
    except ValueError:
        raise ValueError(f"path is {value!r}, which no file can be called") from None
    path = plain(value)
    if is_url(path):
        return path, BY_FULL_PATH
    if "./" in path or "//" in path:  # two ways to write one path must not become two keys
        path = posixpath.normpath(path)
    return path, BY_FULL_PATH if path.startswith("/") else BY_PATH


def size_value(value: Any) -> int:
    """Return a size in bytes; -1 if not given. Raises ValueError."""
    if value is None or value == "":
        return -1
    text = str(value).strip()
    if isinstance(value, bool) or not (text.isascii() and text.isdecimal()):
        raise ValueError(f"size is {value!r}, expected a number of bytes")
    return int(text)


def text_value(value: Any, column: str) -> str:
    """Return a text without the space around it; "" if not given. Raises ValueError."""
    if value is None:
        return ""
    if not isinstance(value, str):
        if type(value) is int:  # JSON and Parquet tell numbers from text
            return str(value)
        raise ValueError(f"{column} is {value!r}, expected text")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ValueError(f"{column} is {value!r}, which is not UTF-8") from None
    return value.strip()
