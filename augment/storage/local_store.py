"""Output folders on a POSIX file system, where rename is atomic and `link` fails if the name exists."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from augment.errors import OutputError
from augment.storage.store import Store
from augment.storage.tar import naming, sync_folder, write_bytes_atomic

_PIECE = 16 * 2**20  # bytes
_UNFINISHED = re.compile(r"\..*[.-][0-9a-f]{32}\.tmp")  # of a file while it is written, or of a folder of such files


def why_not_writable(folder: Path) -> str:
    """Return why a folder cannot be created or written; "" if it can. Writes nothing."""
    while not (folder.exists() or folder.is_symlink()) and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir():
        return f"{folder} is {'a link that leads nowhere' if folder.is_symlink() else 'no folder'}"
    return "" if os.access(folder, os.W_OK | os.X_OK) else f"no permission to write in {folder}"


def check_local_folder(folder: Path, what: str) -> None:
    """Raise OutputError if a command that writes local files only cannot write them there.

    Args:
        folder: where it will write, perhaps a URL that was taken for a path.
        what: how the user names it.
    """
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:(/|$)", str(folder)):
        raise OutputError(f"{what}: {folder} looks like a URL, but this command writes to a local folder; name one")
    try:
        reason = why_not_writable(folder.absolute())
    except OSError as error:  # a name that is too long, a circle of links
        reason = str(error.strerror)
    if reason:
        raise OutputError(f"{what}: {folder} cannot be written ({reason}). Name a folder you can write to.")


def _move(old: Path, new: Path) -> None:
    """Rename a file, replacing one of that name; onto another disk, copy it beside that name first.

    Raises:
        FileNotFoundError: if it is not there, or was taken away while it was copied.
    """
    try:
        os.replace(old, new)
        return
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
    beside = new.parent / f".{new.name}.{uuid.uuid4().hex}.tmp"
    try:
        with naming(new), old.open("rb") as file, beside.open("xb") as copy:
            shutil.copyfileobj(file, copy, _PIECE)
            copy.flush()
            os.fsync(copy.fileno())
        old.stat()
        os.replace(beside, new)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    old.unlink(missing_ok=True)


class LocalStore(Store):
    """Stores files in a folder, which machines may share. Folders in it may be links to other disks.

    Attributes:
        root: the folder; created with the first file.
    """

    def __init__(self, path: Path | str) -> None:
        self.root = Path(path)
        super().__init__(str(self.root))

    def read(self, name: str) -> bytes:
        return (self.root / name).read_bytes()

    def open(self, name: str) -> BinaryIO:
        return (self.root / name).open("rb")

    def list(self, folder: str = "") -> dict[str, int]:
        prefix = f"{folder}/" if folder else ""
        found = {}
        try:
            entries = os.scandir(self.root / folder)
        except (FileNotFoundError, NotADirectoryError) as error:
            if (self.root / folder).is_symlink():  # what is there is away, perhaps, and must not be taken for nothing
                raise OutputError(
                    f"{self.at(folder)} is a link that leads nowhere: bring back what it leads to (a disk that is not "
                    "mounted?), or remove the link"
                ) from error
            return {}
        with entries:
            for entry in entries:
                if entry.name.startswith(".") and entry.name.endswith(".tmp"):
                    continue
                with contextlib.suppress(FileNotFoundError):  # removed since the folder was opened
                    if entry.is_file():
                        found[f"{prefix}{entry.name}"] = entry.stat().st_size
        return dict(sorted(found.items()))

    def folders(self, folder: str) -> set[str]:
        try:
            return {path.name for path in (self.root / folder).iterdir() if path.is_dir()}
        except (FileNotFoundError, NotADirectoryError):
            return set()

    def exists(self, name: str) -> bool:
        return (self.root / name).is_file()

    def write(self, name: str, data: bytes) -> None:
        write_bytes_atomic(self.root / name, data)

    def create(self, name: str, data: bytes) -> bool:
        path = self.root / name
        beside = path.parent / f".{path.name}.{uuid.uuid4().hex}.tmp"
        write_bytes_atomic(beside, data)
        try:
            os.link(beside, path)
        except FileExistsError:
            return False
        finally:
            beside.unlink(missing_ok=True)
        sync_folder(path.parent)
        return True

    def append(self, name: str, data: bytes) -> None:
        (self.root / name).parent.mkdir(parents=True, exist_ok=True)
        with naming(self.root / name), (self.root / name).open("ab") as file:
            file.write(data)

    def put(self, local: Path, name: str) -> None:
        with naming(self.root / name), local.open("rb") as file:
            os.fsync(file.fileno())  # otherwise a power cut may keep the name and lose the bytes
        self._rename({local: self.root / name})

    def move(self, names: Mapping[str, str]) -> None:
        self._rename({self.root / old: self.root / new for old, new in names.items()})

    def _rename(self, paths: Mapping[Path, Path]) -> None:
        folders = {new.parent for new in paths.values()}
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
        for old, new in paths.items():
            _move(old, new)
        for folder in folders:
            sync_folder(folder)

    def remove(self, names: Iterable[str]) -> None:
        for name in names:
            (self.root / name).unlink(missing_ok=True)

    def withdraw(self, names: Iterable[str], folder: str) -> None:
        for name in names:
            try:
                os.rename(self.root / name, self.root / folder / uuid.uuid4().hex)
            except FileNotFoundError:
                if not (self.root / folder).is_dir():
                    raise
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                (self.root / folder).stat()  # raises if it is gone; on another disk there is no step that does both
                (self.root / name).unlink(missing_ok=True)

    @property
    def withdraws_at_once(self) -> bool:
        try:
            return len({path.stat().st_dev for path in self.root.iterdir() if path.is_dir()}) <= 1
        except FileNotFoundError:
            return True

    def clear(self, folder: str) -> None:
        top = folder.partition("/")[0] if "/" in folder else ""  # on the same disk, whatever is a link to another
        gone = self.root / top / f".removed-{uuid.uuid4().hex}.tmp"
        with contextlib.suppress(FileNotFoundError):
            os.rename(self.root / folder, gone)  # at once, whatever is written into it meanwhile
            shutil.rmtree(gone, ignore_errors=True)

    @contextlib.contextmanager
    def scratch(self) -> Iterator[Path]:
        self.root.mkdir(parents=True, exist_ok=True)
        path = self.root / f".scratch-{uuid.uuid4().hex}.tmp"
        path.mkdir()
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)

    def sweep(self, confirm: Callable[[], None] = lambda: None) -> None:
        folders = ("", "run", "run/in_flight", "plan", "commits", "parts", "shards", "rejected", "index")
        found = [path for folder in folders for path in (self.root / folder).glob(".*.tmp")]
        paths = [path for path in found if _UNFINISHED.fullmatch(path.name)]  # others are of somebody else
        confirm()
        for path in paths:
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)

    def local_path(self, name: str) -> Path | None:
        return self.root / name
