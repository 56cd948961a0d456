"""The content of folders, on a disk or in a store: names, sizes, links, and which of the files are images.

Links are followed as torchvision's ImageFolder does, but each real folder is listed once per walk, so that no circle of
links and no tangle of them goes on for ever.
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from augment.errors import InputError
from augment.inputs.formats import EMPTY, HEAD_BYTES, HIDDEN, IMAGE_EXTENSIONS, is_hidden, kind_of_head, kind_of_name
from augment.inputs.listing import BROKEN_LINK, LINKED_TWICE, LOOP, NO_FILE, NOT_LOOKED_AT, UNREADABLE
from augment.inputs.locate import below, file_size, filesystem, is_url, join, missing, reaching, read_range

MAX_REMOTE_HEADS = 1_000  # first bytes that are fetched from a store, some seconds of requests
_AT_ONCE = 16

File = tuple[str, int]  # name relative to the folder, with slashes; bytes


def list_folder(folder: str) -> dict[str, int | None]:
    """Return the names directly in a folder -> bytes of a file, None of a folder. Raises InputError if it is none.

    A link that leads nowhere counts as a file of 0 bytes.
    """
    if not is_url(folder):
        if not os.path.isdir(folder):
            raise InputError(
                f"{folder} is a file, not a folder of images" if os.path.exists(folder) else missing(folder)
            )
        with reaching(folder), os.scandir(folder) as entries:
            return {entry.name: None if _is_folder(entry) else file_size(entry.path) for entry in entries}
    fs, inside = filesystem(folder)
    with reaching(folder):
        fs.invalidate_cache()
        found = fs.ls(inside, detail=True)
    names = {below(inside, i["name"]): None if i["type"] == "directory" else int(i.get("size") or 0) for i in found}
    return {name: size for name, size in names.items() if name}


def files_below(folder: str) -> tuple[list[File], Counter[str]]:
    """Return the files in a folder at any depth, in no order, and counts of what is left out: hidden files, say."""
    if not is_url(folder):
        return _Walk(folder).files()
    fs, inside = filesystem(folder)
    with reaching(folder):
        fs.invalidate_cache()
        found = fs.find(inside, detail=True)
    files, hidden = [], set[str]()
    for path, info in found.items():
        parts = below(inside, path).split("/")
        depth = next((i for i, part in enumerate(parts) if is_hidden(part)), None)
        if depth is not None:
            hidden.add("/".join(parts[: depth + 1]))  # a hidden folder counts once, as on a disk
        elif info["type"] == "file" and parts != [""]:
            files.append(("/".join(parts), int(info.get("size") or 0)))
    return files, Counter({HIDDEN: len(hidden)} if hidden else {})


def only_images(folder: str, files: Sequence[File]) -> tuple[list[File], Counter[str]]:
    """Return those of the files that are images, and counts of the others by kind.

    A file whose extension is that of an image is one, and becomes an error row if it cannot be decoded. Names that say
    nothing (`0001`, `1.dat`, `1.heic`) are decided by the first bytes. Those of a store are fetched for the first
    `MAX_REMOTE_HEADS` of them; if they are images without exception, so are the rest, otherwise the rest is left out.
    """
    images, left_out, unsaid = [], Counter[str](), []
    for file in files:
        kind = kind_of_name(file[0])
        if kind == "image":
            images.append(file)
        elif kind:
            left_out[kind] += 1
        else:
            unsaid.append(file)
    unsaid.sort()
    looked = unsaid[: MAX_REMOTE_HEADS if is_url(folder) else None]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        kinds = list(pool.map(_head_kind(folder), looked))
    for file, kind in zip(looked, kinds, strict=True):
        if kind == "image":
            images.append(file)
        else:
            left_out[kind] += 1
    if rest := unsaid[len(looked) :]:
        if set(kinds) == {"image"}:
            images += rest
        else:
            left_out[NOT_LOOKED_AT] += len(rest)
    return images, left_out


def _head_kind(folder: str) -> Callable[[File], str]:
    def kind(file: File) -> str:
        name, size = file
        if size == 0:
            return EMPTY
        try:
            return kind_of_head(read_range(join(folder, name), 0, min(size, HEAD_BYTES)))
        except InputError:
            return UNREADABLE

    return kind


class _Walk:
    """One walk through a local folder."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._seen: set[tuple[int, int]] = set()  # device and inode of the folders that are listed
        self._links: list[tuple[str, str]] = []  # path of a linked folder, and the prefix of names in it
        self._files: list[File] = []
        self._left_out: Counter[str] = Counter()

    def files(self) -> tuple[list[File], Counter[str]]:
        """Return files and counts. Real folders come first: what they hold keeps its names whatever links there are."""
        above = os.path.realpath(self._root)
        self._list(self._root, "")
        while self._links:
            links, self._links = sorted(self._links), []
            for path, prefix in links:
                real = os.path.realpath(path)
                if real == above or above.startswith(real.rstrip("/") + "/"):
                    self._left_out[LOOP] += 1
                else:
                    self._list(path, prefix)
        return self._files, self._left_out

    def _list(self, folder: str, prefix: str) -> None:
        folders = [(folder, prefix)]
        while folders:
            folder, prefix = folders.pop()
            with reaching(folder):
                status = os.stat(folder)
                if (status.st_dev, status.st_ino) in self._seen:
                    self._left_out[LINKED_TWICE] += 1
                    continue
                self._seen.add((status.st_dev, status.st_ino))
                with os.scandir(folder) as entries:
                    for entry in entries:
                        if is_hidden(entry.name):
                            self._left_out[HIDDEN] += 1
                        elif not _is_folder(entry):
                            self._add(entry, prefix)
                        else:
                            waiting = self._links if entry.is_symlink() else folders
                            waiting.append((entry.path, f"{prefix}{entry.name}/"))

    def _add(self, entry: os.DirEntry[str], prefix: str) -> None:
        try:
            status = entry.stat()
        except OSError:
            self._left_out[BROKEN_LINK if entry.is_symlink() else UNREADABLE] += 1
            return
        if stat.S_ISREG(status.st_mode):
            self._files.append((prefix + entry.name, status.st_size))
        else:
            self._left_out[NO_FILE] += 1  # a pipe or socket: reading it could wait for ever


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def what_is_in(folder: str, wanted: Sequence[str] = ()) -> str:
    """Return a message that says what a folder holds instead of what was looked for, and what to do next.

    Args:
        folder: path or URL.
        wanted: extensions, with their dots, of what was looked for directly in the folder; empty for images at any
            depth.
    """
    files, left_out = files_below(folder)
    kinds = Counter(os.path.splitext(name)[1].lower() or "no extension" for name, _ in files)
    others = ", ".join(f"{count} {kind}" for kind, count in left_out.most_common(3))
    if not kinds:
        return f"it holds no file at all{f' ({others} left out)' if others else ''}"
    found = "it holds " + ", ".join(f"{count} file(s) with {kind}" for kind, count in kinds.most_common(3))
    below_it = sorted(name for name, _ in files if "/" in name and name.lower().endswith(tuple(wanted)))
    if wanted and (deeper := below_it):
        inside = os.path.dirname(deeper[0])
        example = join(folder.rstrip("/"), inside)
        pattern = join(folder.rstrip("/"), "/".join("*" for _ in inside.split("/")) + "/*" + wanted[0])
        return (
            f"{found}; the first {os.path.splitext(deeper[0])[1]} is {deeper[0]}, and only the folder itself is "
            f"searched. Set input.path to {example}, or to {pattern} for all folders at that depth"
        )
    packed = next((name for name, _ in files if name.endswith((".tar.gz", ".tgz"))), None)
    if packed and ".tar" in wanted:
        return f"{found}; {packed} is compressed, and only plain tars are read: unpack it with gunzip"
    if ".tar" in kinds and ".tar" not in wanted:
        return f"{found}; for tars set the format to 'webdataset'"
    if wanted and any(kind.removeprefix(".") in IMAGE_EXTENSIONS for kind in kinds):
        return f"{found}; for one folder of images per class set the format to 'imagefolder'"
    if wanted:
        return f"{found}; name a folder that holds {' or '.join(wanted)} files, or such a file"
    return f"{found}; images are read in the formats of {', '.join(IMAGE_EXTENSIONS[:12])}, ..."
