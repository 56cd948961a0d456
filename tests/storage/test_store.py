"""One folder, five kinds of store, the same promises."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from augment.errors import StoreError
from augment.storage.local_store import LocalStore
from augment.storage.resolve import open_store
from augment.storage.store import Store
from tests.object_store import FreshUrl

ROOT = Path(__file__).parents[2]


@pytest.fixture(
    params=["local", "memory", "s3", *(pytest.param(each, marks=pytest.mark.slow) for each in ("google", "azure"))]
)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    if request.param == "local":
        yield open_store(tmp_path / "out")
    elif request.param == "memory":
        memory = open_store("memory://out")
        yield memory
        memory.clear("")
    elif request.param in ("google", "azure"):
        yield open_store(request.getfixturevalue(request.param).fresh_url())
    else:
        yield open_store(request.getfixturevalue("object_store")())


def put(store: Store, name: str, data: bytes) -> None:
    with store.scratch() as folder:
        (folder / "file").write_bytes(data)
        store.put(folder / "file", name)
        assert not (folder / "file").exists()
    assert not folder.exists()


def test_a_file_is_made_once(store: Store) -> None:
    assert store.create("commits/u0.json", b"first")
    assert not store.create("commits/u0.json", b"second")
    assert store.read("commits/u0.json") == b"first"
    assert store.list("commits") == {"commits/u0.json": 5}


def test_one_of_many_callers_makes_it(store: Store) -> None:
    start = threading.Barrier(8)

    def create(number: int) -> bool:
        start.wait()
        return store.create("commits/u0.json", str(number).encode())

    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(create, range(8)))
    assert made.count(True) == 1
    assert store.read("commits/u0.json") == str(made.index(True)).encode()


def test_write_makes_and_replaces(store: Store) -> None:
    for data in (b"old", b"", b"another"):
        store.write("run/env.json", data)
        assert store.read("run/env.json") == data
    assert store.list("run") == {"run/env.json": 7}


def test_put_makes_and_replaces(store: Store) -> None:
    for data in (b"old", b"another"):
        put(store, "parts/u0.tar", data)
        assert store.read("parts/u0.tar") == data
    assert store.list("parts") == {"parts/u0.tar": 7}


def test_a_list_has_the_files_directly_in_a_folder_in_order(store: Store) -> None:
    for name in ("run/b.json", "run/a.json", "run/in_flight/u0.json", "manifest.json", "running.json"):
        store.write(name, b"12")
    assert list(store.list("run").items()) == [("run/a.json", 2), ("run/b.json", 2)]
    assert store.list() == {"manifest.json": 2, "running.json": 2}
    assert store.list("run/in_flight") == {"run/in_flight/u0.json": 2}
    assert store.list("ru") == store.list("run/a.json/x") == {}


def test_what_is_not_there(store: Store) -> None:
    store.write("run/env.json", b"x")
    for read in (store.read, store.open, store.sha256):
        with pytest.raises(FileNotFoundError):
            read("run/missing.json")
    assert not store.exists("run/missing.json")
    assert not store.exists("run")
    assert store.exists("run/env.json")
    store.remove(["run/missing.json", "nowhere/missing.json"])
    store.clear("nowhere")


def test_remove_and_clear(store: Store) -> None:
    for name in ("a/1", "a/2", "a/b/3", "ab/4"):
        store.write(name, b"x")
    store.remove(["a/1", "a/missing"])
    assert store.list("a") == {"a/2": 1}
    store.clear("a")
    assert store.list("a") == store.list("a/b") == {}
    assert store.read("ab/4") == b"x"


def test_many_at_once_in_the_order_given(store: Store) -> None:
    names = [f"commits/u{number:03d}.json" for number in range(12)]
    for name in names:
        store.write(name, name.encode())
    store.remove(names[5:6])
    asked = names[::-1]
    assert list(store.read_many(asked)) == [(name, name.encode()) for name in asked if name != names[5]]
    store.write(names[0], b"")
    assert list(store.read_many(names[:1])) == [(names[0], b"")]
    store.remove(names)
    assert list(store.read_many(names)) == []
    assert store.list("commits") == {}


def test_move_replaces(store: Store) -> None:
    for name, data in {"staged/a": b"new a", "staged/b": b"new b", "a": b"old"}.items():
        store.write(name, data)
    store.move({"staged/a": "a", "staged/b": "deep/down/b"})
    assert (store.read("a"), store.read("deep/down/b"), store.list("staged")) == (b"new a", b"new b", {})


def test_what_is_gone_cannot_be_moved(store: Store) -> None:
    """A driver that lost its lease is stopped by this."""
    store.write("staged/a", b"new")
    store.write("a", b"old")
    store.clear("staged")
    with pytest.raises(FileNotFoundError):
        store.move({"staged/a": "a"})
    assert store.read("a") == b"old"


def test_folders_that_hold_files(store: Store) -> None:
    for name in ("run/a/1", "run/b/c/2", "run/3"):
        store.write(name, b"x")
    assert store.folders("run") == {"a", "b"}
    assert store.folders("run/a") == store.folders("nowhere") == set()


def test_files_are_withdrawn_on_condition_of_a_folder(store: Store) -> None:
    for name in ("a/1", "a/2", "kept/folder"):
        store.write(name, b"x")
    store.withdraw(["a/1", "a/missing"], "kept")
    assert store.list("a") == {"a/2": 1}
    store.clear("kept")
    if store.withdraws_at_once:
        with pytest.raises(FileNotFoundError):
            store.withdraw(["a/2"], "kept")
        assert store.list("a") == {"a/2": 1}
    else:
        store.withdraw(["a/2"], "kept")
        assert store.list("a") == {}


def test_a_file_is_copied_to_this_machine(store: Store, tmp_path: Path) -> None:
    data = bytes(range(256)) * 1000
    store.write("parts/u0.tar", data)
    store.download("parts/u0.tar", tmp_path / "copy.tar")
    assert (tmp_path / "copy.tar").read_bytes() == data
    here = store.local_path("parts/u0.tar")
    assert here is None or here.read_bytes() == data
    with pytest.raises(FileNotFoundError):
        store.download("parts/missing.tar", tmp_path / "missing.tar")


def test_a_file_is_read_in_pieces(store: Store) -> None:
    data = bytes(range(256)) * 100
    store.write("index.parquet", data)
    with store.open("index.parquet") as file:
        assert file.seek(-10, 2) == len(data) - 10
        assert file.read() == data[-10:]
        file.seek(300)
        assert file.read(5) == data[300:305]
    assert store.sha256("index.parquet") == hashlib.sha256(data).hexdigest()


def test_a_log_keeps_its_lines_in_order(store: Store) -> None:
    for number in range(3):
        store.append("run/events.jsonl", f"{number}\n".encode())
    names = store.list("run")
    assert all(name.startswith("run/events") and name.endswith(".jsonl") for name in names)
    assert b"".join(data for _, data in store.read_many(names)) == b"0\n1\n2\n"


def test_names_for_people(tmp_path: Path) -> None:
    assert open_store(f"{tmp_path}/").at("run/env.json") == f"{tmp_path}/run/env.json"
    assert open_store(f"file://{tmp_path}").at("run/env.json") == f"{tmp_path}/run/env.json"
    assert str(open_store("memory://out/")) == "memory://out"
    assert open_store("memory://out/").at("a") == "memory://out/a"


@pytest.mark.parametrize("kind", ["local", "s3"])
def test_another_process_is_seen_at_once(kind: str, tmp_path: Path, object_store: FreshUrl) -> None:
    url = str(tmp_path) if kind == "local" else object_store()
    store = open_store(url)
    assert store.list("commits") == {}
    code = (
        "import sys\nfrom augment.storage.resolve import open_store\nstore = open_store(sys.argv[1])\n"
        "print(store.create('commits/a', b'old'), store.create('commits/b', b'new'))\n"
    )
    store.create("commits/a", b"x")
    answer = subprocess.run([sys.executable, "-c", code, url], cwd=ROOT, capture_output=True, text=True, check=True)
    assert answer.stdout == "False True\n"
    assert store.list("commits") == {"commits/a": 1, "commits/b": 3}


HEX = "12" * 16  # as in the names of unfinished files


# ---- local disks only -----------------------------------------------------------------------------------------------
def test_unfinished_files_are_not_listed_and_are_swept(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    unfinished = [tmp_path / folder / f".x.{HEX}.tmp" for folder in ("", "commits", "parts", "run/in_flight")]
    for path in unfinished:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"half")
        assert store.list(str(path.parent.relative_to(tmp_path)).removeprefix(".")) == {}
    (tmp_path / f".scratch-{HEX}.tmp").mkdir()
    (tmp_path / f".scratch-{HEX}.tmp" / "u0.tar").write_bytes(b"half")
    store.write("commits/u0.json", b"x")
    store.sweep()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / "commits" / "u0.json"]
    assert not list(tmp_path.rglob(".*.tmp"))


def test_sweeping_is_prevented_by_who_asks_before(tmp_path: Path) -> None:
    """What is unfinished is listed first: files of a driver that takes over after the question are not among it."""
    store = LocalStore(tmp_path)
    (tmp_path / f".old.{HEX}.tmp").write_bytes(b"half")

    def confirm() -> None:
        (tmp_path / f".new.{HEX}.tmp").write_bytes(b"half")

    store.sweep(confirm)
    assert [path.name for path in tmp_path.iterdir()] == [f".new.{HEX}.tmp"]

    def lost() -> None:
        raise StoreError("the lease is lost")

    with pytest.raises(StoreError):
        store.sweep(lost)
    assert [path.name for path in tmp_path.iterdir()] == [f".new.{HEX}.tmp"]


def test_a_file_that_goes_while_others_are_listed(tmp_path: Path) -> None:
    """Workers remove their parts at any time; to take the others for gone as well would undo their units."""
    store = LocalStore(tmp_path)
    store.write("parts/u0.tar", b"x")
    stop = threading.Event()

    def come_and_go() -> None:
        while not stop.is_set():
            for path in [tmp_path / "parts" / f"{number}.tar" for number in range(30)]:
                path.touch()
                path.unlink()

    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(come_and_go)
        listed = [store.list("parts").get("parts/u0.tar") for _ in range(1000)]
        stop.set()
        coming.result()
    assert set(listed) == {1}


def test_a_put_is_a_rename(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    with store.scratch() as folder:
        (folder / "shard.tar").write_bytes(b"large")
        inode = (folder / "shard.tar").stat().st_ino
        store.put(folder / "shard.tar", "staged/shard.tar")
    store.move({"staged/shard.tar": "shards/train-000000.tar"})
    assert (tmp_path / "shards" / "train-000000.tar").stat().st_ino == inode
