"""Files that a manifest names and that are not there: how many, and the likely reason."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import unquote

from augment.inputs.locate import absolute, filesystem, is_url, missing
from augment.types import Source

REMOTE_LOOKED_AT = 200  # of a store's files, evenly spread over the rows: some seconds of requests
_AT_ONCE = 16
_BLOCK = 2_000  # local files that a thread asks for at a time


@dataclass(frozen=True)
class Absent:
    """What was found.

    Attributes:
        count, looked_at, total: files that are not there, of those looked at, of all.
        first: the first of them, or "".
        reason: why it may be, and what to do; "" if nothing is absent.
    """

    count: int
    looked_at: int
    total: int
    first: str = ""
    reason: str = ""

    def __str__(self) -> str:
        sample = "" if self.looked_at == self.total else f" looked at (of {self.total})"
        files = f"{self.count} of {self.looked_at} files{sample}"
        return f"{files} are not there, the first is {self.first}: {self.reason}"


def absent_files(sources: Sequence[Source], manifest: str | Sequence[str]) -> Absent:
    """Look which files are there: all local ones, and `REMOTE_LOOKED_AT` of those in stores.

    A store that cannot be asked says nothing about its files; they count as there.

    Args:
        sources: as a manifest lists them.
        manifest: `input.path`.
    """
    local = [s.locator for s in sources if not is_url(s.locator)]
    remote = [s.locator for s in sources if is_url(s.locator)]
    remote = remote[:: -(-len(remote) // REMOTE_LOOKED_AT)] if remote else []
    blocks = [local[i : i + _BLOCK] for i in range(0, len(local), _BLOCK)]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        gone = [path for found in pool.map(_absent_of, blocks) for path in found]
        gone += [url for url, there in zip(remote, pool.map(_is_there, remote), strict=True) if not there]
    looked_at = len(local) + len(remote)
    if not gone:
        return Absent(0, looked_at, len(sources))
    first = gone[0]
    reason = _remote_reason(first) if is_url(first) else _reason(first, _folders(manifest))
    return Absent(len(gone), looked_at, len(sources), first, reason)


def _absent_of(paths: Sequence[str]) -> list[str]:
    return [path for path in paths if not os.path.exists(path)]


def _is_there(url: str) -> bool:
    try:
        fs, inside = filesystem(url)
        fs.info(inside)
    except FileNotFoundError:
        return False
    except Exception:  # no permission, no network: each row says so when it is read
        return True
    return True


def _folders(manifest: str | Sequence[str]) -> list[str]:
    """Return the local folders of the manifests."""
    found = []
    for path in [manifest] if isinstance(manifest, str) else manifest:
        folder = absolute(path)
        while not is_url(folder) and not os.path.isdir(folder):
            folder = os.path.dirname(folder)
        found.append(folder)
    return [folder for folder in dict.fromkeys(found) if not is_url(folder)]


def _reason(path: str, folders: Sequence[str]) -> str:
    folder = next((f for f in folders if path.startswith(f.rstrip("/") + "/")), "")
    row = path[len(folder) :].lstrip("/") if folder else path
    ways = list(_rewritten(row))
    for text, what, remedy in ways:
        if what and os.path.exists(os.path.join(folder, text)):
            return f"{what}. {remedy}"
    for text, what, remedy in ways:
        if there := _elsewhere(text, folders, path):
            how = f"{what}, and " if what else ""
            if row.startswith("/"):
                return f"{how}{there} is there. Write paths relative to the manifest's folder, or absolute ones"
            return (
                f"{how}{there} is there: relative paths are taken from the manifest's own folder, not from the working "
                f"directory. {remedy or 'Write them so, or as absolute paths'}"
            )
    if near := _nearly(path):
        return f"{near} is there. Write names exactly as the files have them"
    return f"{missing(path)}. Relative paths are taken from the manifest's own folder"


def _rewritten(row: str) -> Iterator[tuple[str, str, str]]:
    """Yield other ways to write a path, with what is odd about this one and the remedy; first the path as it is."""
    yield row, "", ""
    slashes = row.replace("\\", "/")
    ways = [
        (slashes, "it has backslashes, as on Windows", "Write the paths with slashes"),
        ("/".join(part.strip() for part in row.split("/")), "it has a space too many", "Remove spaces around names"),
        (unquote(row), "it is percent-encoded", "Write the paths as the files are called"),
        (unquote(slashes), "it has backslashes and is percent-encoded", "Write the paths as the files are called"),
        (os.path.expandvars(os.path.expanduser(row)), "~ and variables mean nothing in rows", "Write the paths out"),
    ]
    for form in ("NFC", "NFD"):
        text = unicodedata.normalize(form, row)
        ways.append((text, "its letters are composed in another way (Unicode NFC, NFD)", "Write names as the files do"))
    yield from (way for way in ways if way[0] != row)


def _elsewhere(row: str, folders: Sequence[str], path: str) -> str:
    """Return a file that an end of the path names: in the manifest's folder, beside it or in the working directory."""
    parts = [part for part in PurePosixPath(row).parts if part not in ("/", "..")]
    roots = [*folders, *map(os.path.dirname, folders), os.getcwd()]
    for start in range(len(parts)):
        for root in roots:
            there = os.path.join(root, *parts[start:])
            if there != path and os.path.isfile(there):
                return there
    return ""


def _nearly(path: str) -> str:
    """Return a file beside the path whose name differs in case or in its extension only; "" if there is none."""
    folder, name = os.path.split(path)
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return ""
    stem = os.path.splitext(name)[0]
    near = [n for n in names if n.casefold() == name.casefold()]
    near += [n for n in names if stem in (n, os.path.splitext(n)[0])]
    return os.path.join(folder, near[0]) if near else ""


def _remote_reason(url: str) -> str:
    scheme, colon, rest = url.partition("://")
    for text, what, remedy in _rewritten(rest):
        if what and _is_there(f"{scheme}{colon}{text}"):
            return f"{what}. {remedy}"
    return "relative paths are taken from the manifest's own folder. Give absolute URLs, or move the manifest"
