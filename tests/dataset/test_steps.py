"""Every step of publishing: what a reader sees there, what is left of a driver killed there, and what becomes of one
that is suspended there while another one takes over and publishes."""

from __future__ import annotations

import contextlib
import hashlib
import io
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from augment.dataset.index import read_index
from augment.dataset.verify import verify
from augment.errors import OutputError
from augment.ledger.ledger import Ledger
from augment.storage.store import Store
from tests.dataset.parts import finished_ledger, publish
from tests.dataset.steps import Folder, InLine, Step, content, killed, memory, take_over, walk
from tests.memory_store import Killed
from tests.variants import variants

PUBLISHED = ("manifest.json", "shards/", "rejected/", "index/", "README.md")
OLD, NEW, OTHER = 0.0, 0.35, 0.75  # thresholds
ROOT = Path(__file__).parents[2]


@pytest.fixture(params=["disk", "store"])
def folder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Folder]:
    monkeypatch.setattr("augment.dataset.publish.Processes", InLine)
    made = Folder(request.param, published)
    yield made
    made.close()


def published(path: Path) -> None:
    with finished_ledger(path).lock():
        publish(Ledger(path), OLD, max_shard_samples=3)


def publish_new(ledger: Ledger) -> bool:
    return publish(ledger, NEW, check_hashes=True, max_shard_samples=2).changed


def publish_old(ledger: Ledger) -> bool:
    return publish(ledger, OLD, check_hashes=True, max_shard_samples=3).changed


def publish_other(ledger: Ledger) -> bool:
    return publish(ledger, OTHER, check_hashes=True, max_shard_samples=1).changed


_GOOD: list[dict[str, bytes]] = []  # so that the same is not verified again at every step


def is_good(store: Store) -> None:
    """The folder holds one whole dataset and nothing else."""
    files = {name: data for name, data in content(store).items() if not name.startswith(("parts/", "commits/"))}
    if files in _GOOD:
        return
    path = memory() / "out"
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    assert verify(path).problems == []
    shutil.rmtree(path.parent)
    _GOOD.append(files)


def test_a_reader_finds_one_whole_dataset_at_every_step(folder: Folder) -> None:
    store, reader = folder.fresh()
    generations: list[str] = []

    def read(what: str) -> None:
        manifest = json.loads(reader.read("manifest.json"))
        for name, entry in manifest["files"].items():
            assert hashlib.sha256(reader.read(name)).hexdigest() == entry["sha256"], (what, name)
        rows = list(read_index(io.BytesIO(reader.read("index.parquet"))))
        assert len(rows) == 10
        assert {row["shard"] for row in rows} - {""} <= reader.list("shards").keys() | reader.list("rejected").keys()
        path = next(line for line in reader.read("README.md").decode().splitlines() if "path:" in line)
        assert any(name.startswith(path.split()[1].removesuffix("*.tar")) for name in reader.list("shards"))
        if manifest["generation"] not in generations:
            generations.append(manifest["generation"])

    ledger = Ledger(store)
    with ledger.lock(), folder.stepping(store, read):
        publish_new(ledger)
    assert len(generations) == 2
    is_good(store)


def test_a_driver_killed_at_any_step_leaves_what_the_next_one_completes(folder: Folder) -> None:
    whole, _ = folder.fresh()
    with Ledger(whole).lock():
        publish_new(Ledger(whole))
    expected = content(whole)

    def run(store: Store, other: Store, happens: Callable[[Callable[[], None]], Step]) -> None:
        ledger = Ledger(store)
        with contextlib.suppress(Killed), folder.stepping(store, killed(happens)), ledger.lock():
            publish_new(ledger)
        take_over(Ledger(other), publish_new)
        assert content(other) == expected
        is_good(other)

    walk(folder, run, PUBLISHED, at_least=40)


@pytest.mark.parametrize(
    "next_one",
    variants([publish_other, publish_old, publish_new], kept=[publish_other]),
    ids=["other", "old", "same"],
)
def test_a_driver_suspended_at_any_step_cannot_spoil_what_the_next_one_publishes(
    folder: Folder, next_one: Callable[[Ledger], bool]
) -> None:
    def run(store: Store, other: Store, happens: Callable[[Callable[[], None]], Step]) -> None:
        found = dict[str, bytes]()

        def suspended() -> None:
            take_over(Ledger(other), next_one)
            found.update(content(other))

        ledger, error = Ledger(store), ""
        try:
            with ledger.lock(), folder.stepping(store, happens(suspended)):
                publish_new(ledger)
        except OutputError as lost:
            error = str(lost)
        assert bool(found) == ("was taken over by another run" in error)
        if found:
            assert content(other) == found
            is_good(other)

    walk(folder, run, PUBLISHED, at_least=40)


# Where the driver is stopped: what it is about to do, as the hook of `before_each_change` says it.
PLACES = {
    "building": ".scratch-",
    "staging": "/run/publishing/000002/shards/",
    "a shard": "os.rename {out}/run/publishing/000002/shards/",
    "the manifest": "os.rename {out}/run/publishing/000002/manifest.json",
    "the index": "os.rename {out}/run/publishing/000002/index.parquet",
    "removing": "os.rename {out}/shards/",
}
DRIVER = """
import os, signal, sys
from pathlib import Path
from augment.ledger.ledger import Ledger
from tests.dataset.steps import before_each_change
from tests.dataset.test_steps import publish_new

def stop(what):
    if sys.argv[2] in what:
        os.kill(os.getpid(), signal.SIGSTOP)

ledger = Ledger(sys.argv[1])
with ledger.lock(), before_each_change(Path(sys.argv[1]), stop):
    publish_new(ledger)
"""


@pytest.mark.parametrize(
    ("place", "next_one"),
    variants(
        itertools.product(PLACES, (publish_other, publish_old)),
        kept=[("building", publish_other), ("the manifest", publish_other), ("removing", publish_old)],
    ),
    ids=[f"{place}-{next_one}" for place in PLACES for next_one in ("other", "old")],
)
def test_a_process_that_is_stopped_and_goes_on_later(
    tmp_path: Path, place: str, next_one: Callable[[Ledger], bool]
) -> None:
    out = tmp_path / "out"
    ledger = finished_ledger(out)
    with ledger.lock():
        publish_old(ledger)
    command = [sys.executable, "-c", DRIVER, str(out), PLACES[place].format(out=out)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT) as driver:
        try:
            _, status = os.waitpid(driver.pid, os.WUNTRACED)
            assert os.WIFSTOPPED(status)
            other = Ledger(out)
            take_over(other, next_one)
            found = content(other.store)
            is_good(other.store)
            while driver.poll() is None:  # it stops at every step of the kind
                driver.send_signal(signal.SIGCONT)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    driver.wait(0.2)
        finally:
            driver.kill()
        assert driver.stderr is not None
        error = driver.stderr.read()
    assert driver.returncode == 1
    assert "OutputError" in error.splitlines()[-1] and "was taken over by another run" in error.splitlines()[-1], error
    assert content(other.store) == found
    with other.lock():
        assert not next_one(other)
