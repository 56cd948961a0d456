"""Paths in configs: `~` and environment variables."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo

AS_WRITTEN = {"paths": "as they are written"}  # context of a validation that replaces nothing in paths
_VARIABLE = re.compile(r"\$(?:\{([^}]*)\}|([A-Za-z_][A-Za-z0-9_]*))")


def expand_path(path: str) -> str:
    """Return a path or URL with the home folder for `~` at its beginning and values for `$NAME` and `${NAME}`.

    A local path that exists as it is written stays as it is.

    Raises:
        ValueError: if a variable is not set, or there is no such user.
    """
    if os.path.lexists(path):
        return path
    for match in _VARIABLE.finditer(path):
        name = match.group(1) if match.group(1) is not None else match.group(2)
        if not os.environ.get(name):
            state = "empty" if name in os.environ else "not set"
            raise ValueError(f"the environment variable {name!r} is {state}; set it, or write the path out")
    expanded = _VARIABLE.sub(lambda match: os.environ[match.group(1) or match.group(2)], path)
    home = os.path.expanduser(expanded)
    if expanded.startswith("~") and home == expanded:
        raise ValueError(f"there is no home folder for {expanded.partition('/')[0]!r}; write the path out")
    return home


def _expanded(path: object, info: ValidationInfo) -> object:
    return expand_path(path) if isinstance(path, str) and info.context is not AS_WRITTEN else path


ExpandedPath = Annotated[Path, BeforeValidator(_expanded)]
PathText = Annotated[str, Field(min_length=1), AfterValidator(_expanded)]
