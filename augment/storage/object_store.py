"""Output folders on object stores: S3 and stores with its protocol, Google Cloud Storage, Azure."""

from __future__ import annotations

import contextlib
import itertools
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast

import fsspec

from augment.errors import StoreError
from augment.storage.azure_copy import wait_for_copy
from augment.storage.client_errors import how_to_install, http_status, is_missing_package, is_refused
from augment.storage.store import Store

# URL schemes of stores that can create an object on the condition that there is none (fsspec: `mode="create"`).
_AZURE = ("az", "abfs", "abfss")
CONDITIONAL_PUT = ("s3", "s3a", "gs", "gcs", *_AZURE, "memory")
_AT_ONCE = 32  # requests in parallel
_CREATE_ATTEMPTS = 8
_CREATING = threading.Lock()  # fsspec's `memory://` checks and writes in two steps; the others in one
T = TypeVar("T")


class ObjectStore(Store):
    """Stores files under a prefix of an object store, through fsspec. Needs a conditional put.

    Files are built locally and uploaded once, whole: a file object that an exception passes through would finalize a
    truncated object. Errors of the store's client are raised as OSError.

    Raises:
        StoreError: if the URL is of another kind of store or names no bucket, or its client is not installed or lacks
            an account.
    """

    def __init__(self, url: str) -> None:
        super().__init__(url.rstrip("/"))
        scheme = url.partition("://")[0]
        if scheme not in CONDITIONAL_PUT:
            raise StoreError(
                f"{url}: an output needs a local path or one of {', '.join(f'{s}://' for s in CONDITIONAL_PUT)}: "
                "other stores cannot promise that only one of two writers succeeds"
            )
        if not url.partition("://")[2].strip("/"):
            raise StoreError(f"{url}: names no bucket; write it as {scheme}://BUCKET/FOLDER")
        try:
            # Without listings cache: what another process has written since must be seen.
            self._fs, self._root = fsspec.core.url_to_fs(self.url, use_listings_cache=False)
        except Exception as error:
            if is_missing_package(error, url):
                raise StoreError(f"{url}: {error}; {how_to_install(url)}") from error
            # adlfs without an account
            raise StoreError(
                f"{url}: {type(error).__name__}: {error}. Accounts and keys are taken from the environment: AWS_*, "
                "GOOGLE_APPLICATION_CREDENTIALS, AZURE_STORAGE_CONNECTION_STRING or AZURE_STORAGE_ACCOUNT_NAME and _KEY"
            ) from error
        self._copies_late = scheme in _AZURE
        # gcsfs splits a large read, and reads nothing at all if one of the pieces lies beyond the end.
        self._reading = {"concurrency": 1} if scheme in ("gs", "gcs") else {}

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}" if name else str(self._root)

    @contextlib.contextmanager
    def _as_os_error(self, name: str) -> Iterator[None]:
        try:
            yield
        except (FileNotFoundError, FileExistsError, PermissionError):
            raise
        except Exception as error:  # no credentials, no connection, ...: every client has classes of its own
            if is_refused(error):
                raise PermissionError(f"{self.at(name)}: {' '.join(str(error).split())}") from error
            if isinstance(error, OSError):
                raise
            raise OSError(f"{self.at(name)}: {type(error).__name__}: {error}") from error

    def _each(self, action: Callable[[str], T], names: Iterable[str], changes: bool = True) -> Iterator[T]:
        """Yield the results of an action for each name, in order; many run in parallel: a request has latency.

        When that ends early, by an error or a signal, what is under way is waited for if it changes something: nothing
        may happen after a lock is given back. A read is left alone, as a silent store may take long to fail it.
        """
        rest = iter(names)
        pool = ThreadPoolExecutor(_AT_ONCE)
        try:
            while some := list(itertools.islice(rest, 32 * _AT_ONCE)):
                yield from pool.map(action, some)
        finally:
            pool.shutdown(wait=changes, cancel_futures=True)

    def read(self, name: str) -> bytes:
        with self._as_os_error(name):
            return bytes(self._fs.cat_file(self._path(name)))

    def open(self, name: str) -> BinaryIO:
        with self._as_os_error(name):
            # Without read-ahead: readers of columns ask for exactly the ranges they need.
            return cast(BinaryIO, self._fs.open(self._path(name), "rb", cache_type="none", **self._reading))

    def list(self, folder: str = "") -> dict[str, int]:
        try:
            with self._as_os_error(folder):
                entries: list[dict[str, Any]] = self._fs.ls(self._path(folder), detail=True)
        except FileNotFoundError:
            return {}
        cut = len(self._path("")) + 1
        files = (entry for entry in entries if entry["type"] == "file" and not entry["name"].endswith("/"))
        return dict(sorted((entry["name"][cut:], int(entry["size"])) for entry in files))

    def folders(self, folder: str) -> set[str]:
        with self._as_os_error(folder):
            paths: list[str] = self._fs.find(self._path(folder))
        cut = len(self._path(folder)) + 1
        return {path[cut:].partition("/")[0] for path in paths if "/" in path[cut:]}

    def exists(self, name: str) -> bool:
        with self._as_os_error(name):
            return bool(self._fs.isfile(self._path(name)))

    def write(self, name: str, data: bytes) -> None:
        with self._as_os_error(name):
            self._fs.pipe_file(self._path(name), data)

    def create(self, name: str, data: bytes) -> bool:
        for attempt in itertools.count(1):
            try:
                with self._as_os_error(name), _CREATING:
                    self._fs.pipe_file(self._path(name), data, mode="create")
                return True
            except FileExistsError:
                return False
            except OSError as error:
                code = _error_code(error)
                if code == "PreconditionFailed":  # the code of stores other than S3
                    return False
                # Another writer is creating it now; only its outcome tells whether the name is taken.
                if code not in ("ConditionalRequestConflict", "OperationAborted") or attempt == _CREATE_ATTEMPTS:
                    raise
                time.sleep(0.05 * 2**attempt)
        raise AssertionError("not reached")

    def append(self, name: str, data: bytes) -> None:
        stem, dot, extension = name.rpartition(".")
        self.write(f"{stem}-{uuid.uuid1().time:020d}{dot}{extension}", data)

    def put(self, local: Path, name: str) -> None:
        size = local.stat().st_size
        with self._as_os_error(name):
            self._fs.put_file(str(local), self._path(name))
            arrived = self._fs.info(self._path(name))["size"]
        if arrived != size:
            raise OSError(f"{self.at(name)}: {arrived} of {size} bytes arrived")
        local.unlink()

    def move(self, names: Mapping[str, str]) -> None:
        def copy(old: str) -> None:
            with self._as_os_error(old):
                self._fs.cp_file(self._path(old), self._path(names[old]))
                if self._copies_late:
                    wait_for_copy(self._fs, self._path(names[old]))

        list(self._each(copy, names))
        self.remove(names)

    def remove(self, names: Iterable[str]) -> None:
        list(self._each(self._remove, names))

    def _remove(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError), self._as_os_error(name):
            self._fs.rm_file(self._path(name))

    def withdraw(self, names: Iterable[str], folder: str) -> None:
        self.remove(names)

    @property
    def withdraws_at_once(self) -> bool:
        return False

    def clear(self, folder: str) -> None:
        with self._as_os_error(folder):
            paths: list[str] = self._fs.find(self._path(folder))
        cut = len(self._path("")) + 1
        self.remove(path[cut:] for path in paths)

    @contextlib.contextmanager
    def scratch(self) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix="augment-") as folder:
            yield Path(folder)

    def sweep(self, confirm: Callable[[], None] = lambda: None) -> None:
        """Do nothing: an upload that did not end leaves no visible object."""

    def read_many(self, names: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        def read(name: str) -> tuple[str, bytes | None]:
            try:
                with self._as_os_error(name):
                    # With `start`, s3fs makes one request; without, it asks for the size first, which doubles the time.
                    return name, bytes(self._fs.cat_file(self._path(name), start=0))
            except FileNotFoundError:
                return name, None
            except OSError as error:
                if http_status(error.__cause__) == 416:  # an empty object has no first byte
                    return name, b""
                raise

        for name, data in self._each(read, names, changes=False):
            if data is not None:
                yield name, data


def _error_code(error: OSError) -> str:
    """Return the code in an S3 client's error; "" if it has none."""
    response: Any = getattr(error.__cause__, "response", None)
    return str(response["Error"].get("Code", "")) if isinstance(response, dict) and "Error" in response else ""
