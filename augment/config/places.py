"""What paths in a configuration are relative to, where that is the file which says them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from augment.config.explain import KeyPath
from augment.config.load import origins_of


def folder_of_key(
    path: Path | str, key: KeyPath, overrides: Sequence[str] = (), origins: Mapping[KeyPath, str] | None = None
) -> Path:
    """Return the folder of the file that says a key: the file itself, or one that it extends.

    Of an override, as of all that is typed, it is the working directory.

    Args:
        path: YAML file, which exists and holds the key.
        key: names from the top; of one that is not there by itself, that around it counts.
        overrides: `dotted.key=value`.
        origins: where each key is said, if `load_config` has noted it; else the file is read for that.
    """
    origins = origins_of(path, overrides) if origins is None else origins
    said = next((origins[key[:n]] for n in range(len(key), 0, -1) if key[:n] in origins), f"{path}:1")
    typed = said in {f"-o {override}" for override in overrides}
    return Path() if typed else Path(said.rpartition(":")[0]).parent
