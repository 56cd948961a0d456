"""Planning and publishing, step by step: something happens to the driver before each call to its disk, or its store."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from augment.ledger.ledger import Ledger
from augment.storage.local_store import LocalStore
from augment.storage.store import Store
from tests.memory_store import Killed, MemoryStore

Step = Callable[[str], None]  # is told what the driver is about to do
_CHANGES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "shutil.rmtree"}
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


class _Watch:
    """What is called before each change of a file below a folder; one hook for all tests, as hooks stay for ever."""

    def __init__(self) -> None:
        self.folder, self.step, self.installed = "", None, False

    def __call__(self, event: str, args: tuple[Any, ...]) -> None:
        if self.step is None or (event not in _CHANGES and event != "open"):
            return
        if event == "open" and not (isinstance(args[2], int) and args[2] & _WRITES):
            return
        if not (isinstance(args[0], str | os.PathLike) and os.fspath(args[0]).startswith(self.folder)):
            return
        step, self.step = self.step, None  # not before what itself does
        try:
            step(f"{event} {' '.join(os.fspath(a) for a in args[:2] if isinstance(a, str | os.PathLike))}")
        finally:
            self.step = step


_watch = _Watch()


@contextlib.contextmanager
def before_each_change(folder: Path, step: Step) -> Iterator[None]:
    """Call `step` before each system call of this process that changes something below a folder."""
    if not _watch.installed:
        sys.addaudithook(_watch)
        _watch.installed = True
    _watch.folder, _watch.step = f"{folder}/", step
    try:
        yield
    finally:
        _watch.step = None


class SteppingStore(MemoryStore):
    """An object store in memory, as one driver sees it: `step` is called before each request that changes something."""

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__()
        self.files = files
        self.step: Step | None = None

    def _before(self, what: str) -> None:
        if self.step is not None:
            step, self.step = self.step, None
            try:
                step(what)
            finally:
                self.step = step

    def list(self, folder: str = "") -> dict[str, int]:
        return dict(sorted(super().list(folder).items()))

    def write(self, name: str, data: bytes) -> None:
        self._before(f"write {name}")
        super().write(name, data)

    def create(self, name: str, data: bytes) -> bool:
        self._before(f"create {name}")
        return super().create(name, data)

    def put(self, local: Path, name: str) -> None:
        self._before(f"put {name}")
        super().put(local, name)

    def move(self, names: Any) -> None:
        for old, new in names.items():  # a copy fails if there is nothing to be copied
            self._before(f"copy {old} {new}")
            if old not in self.files:
                raise FileNotFoundError(self.at(old))
            self.files[new] = self.files[old]
        self.remove(names)

    def remove(self, names: Any) -> None:
        for name in list(names):
            self._before(f"remove {name}")
            self.files.pop(name, None)


class InLine:
    """`augment.dataset.processes.Processes` without any: each task is done at once, so that steps have an order."""

    count = 1

    def __init__(self, count: int) -> None:
        pass

    def submit(self, task: Callable[..., Any], *args: Any) -> Future[Any]:
        done: Future[Any] = Future()
        try:
            done.set_result(task(lambda function, *given: function(*given), *args))
        except Exception as error:
            done.set_exception(error)
        return done

    def __enter__(self) -> InLine:
        return self

    def __exit__(self, *exception: object) -> None:
        pass


class Folder:
    """An output folder as `prepare` leaves it, made again and again, on a disk or in an object store."""

    def __init__(self, kind: str, prepare: Callable[[Path], None]) -> None:
        self.kind, self.path = kind, memory() / "out"
        self.template = memory() / "out"
        prepare(self.template)
        self.files = {
            str(path.relative_to(self.template)): path.read_bytes()
            for path in self.template.rglob("*")
            if path.is_file()
        }

    def fresh(self) -> tuple[Store, Store]:
        """The folder as two drivers see it."""
        if self.kind == "store":
            one, two = SteppingStore(dict(self.files)), SteppingStore({})
            two.files = one.files
            return one, two
        shutil.rmtree(self.path, ignore_errors=True)
        shutil.copytree(self.template, self.path)
        return LocalStore(self.path), LocalStore(self.path)

    @contextlib.contextmanager
    def stepping(self, store: Store, step: Callable[[str], None]) -> Iterator[None]:
        """Call `step` before each change that the first driver makes."""
        if isinstance(store, SteppingStore):
            store.step = step
            try:
                yield
            finally:
                store.step = None
        else:
            with before_each_change(self.path, step):
                yield

    def close(self) -> None:
        for path in (self.path, self.template):
            shutil.rmtree(path.parent)


Happens = Callable[[Callable[[], None]], Step]


def walk(folder: Folder, run: Callable[[Store, Store, Happens], None], places: Sequence[str], at_least: int) -> None:
    """Do `run` for every step. It is given the folder as two drivers see it, and what makes something happen there.

    Of at least so many steps there must be some in all places.
    """
    steps: list[str] = []
    for number in range(10_000):
        seen: list[str] = []

        def happens(event: Callable[[], None], seen: list[str] = seen, number: int = number) -> Step:
            def step(what: str) -> None:
                seen.append(what)
                if len(seen) == number + 1:
                    event()

            return step

        run(*folder.fresh(), happens)
        if len(seen) <= number:
            break
        steps.append(seen[number])
    for place in places:
        assert any(place in step for step in steps), steps
    assert len(steps) >= at_least


def killed(happens: Happens) -> Step:
    """What kills a driver at the step: nothing of it reaches the store any more."""
    dead: list[bool] = []
    kill = happens(lambda: dead.append(True))

    def step(what: str) -> None:
        kill(what)
        if dead:
            raise Killed

    return step


def forget_renewal(store: Store) -> None:
    """Let the holder of the lease have renewed it long ago."""
    name = max(name for name in store.list("run") if "lease" in name)
    store.write(name, json.dumps(json.loads(store.read(name)) | {"renewed": 0.0}).encode())


def content(store: Store) -> dict[str, bytes]:
    """All that is in a folder but the logs, leases and notes in `run`: name -> bytes."""
    names = [
        name
        for folder in ("", "plan", "parts", "commits", "shards", "rejected", "index")
        for name in store.list(folder)
    ]
    return {name: store.read(name) for name in names}


def memory() -> Path:
    """A new folder in memory, where syncing is free."""
    return Path(tempfile.mkdtemp(dir="/dev/shm" if os.path.isdir("/dev/shm") else None))


def take_over(ledger: Ledger, publish: Callable[[Ledger], Any]) -> None:
    """Publish as another driver that finds the lease long not renewed."""
    forget_renewal(ledger.store)
    with ledger.lock():
        publish(ledger)
