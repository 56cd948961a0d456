"""One driver at a time, on a local disk and on an object store."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import pytest

from augment.errors import OutputError
from augment.ledger.lease import (
    SECONDS,
    Lease,
    acquire,
    holder,
    kept_alive,
)
from augment.storage.resolve import open_store
from augment.storage.store import Store
from tests.object_store import Fault, FreshUrl
from tests.variants import variants

ROOT = Path(__file__).parents[2]


@pytest.fixture(params=["local", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return open_store(tmp_path if request.param == "local" else request.getfixturevalue("object_store")())


def change(store: Store, number: int, **values: Any) -> None:
    """Let the holder of a lease have written something else."""
    name = f"run/lease-{number:06d}.json"
    store.write(name, json.dumps(json.loads(store.read(name)) | values).encode())


def leases(store: Store) -> list[str]:
    return [name for name in store.list("run") if "lease" in name]


def test_a_second_driver_is_told_who_the_first_is(store: Store) -> None:
    first = acquire(store)
    with pytest.raises(OutputError, match=rf"written by another run \(process {os.getpid()} on {socket.gethostname()}"):
        acquire(store)
    first.renew()
    first.check()
    assert leases(store) == ["run/lease-000001.json"]


def test_a_lease_that_was_released_is_free(store: Store) -> None:
    acquire(store).release()
    acquire(store).check()
    assert leases(store) == ["run/lease-000002.json"]


def test_a_lease_that_nobody_renews_is_taken_over_and_its_holder_notices(store: Store) -> None:
    first = acquire(store)
    change(store, 1, renewed=time.time() - SECONDS + 10)
    with pytest.raises(OutputError, match=r"seen 5\d s ago"):
        acquire(store)
    change(store, 1, renewed=time.time() - SECONDS - 1)
    second = acquire(store)
    first.check()  # has not looked yet
    first.renew()
    with pytest.raises(OutputError, match="was taken over by another run"):
        first.check()
    first.release()  # of what it does not hold any more
    second.renew()
    second.check()
    with pytest.raises(OutputError, match="written by another run"):
        acquire(store)
    assert leases(store) == ["run/lease-000002.json"]


def test_renewing_keeps_it(store: Store) -> None:
    lease = acquire(store)
    change(store, 1, renewed=time.time() - SECONDS - 1)
    lease.renew()
    with pytest.raises(OutputError, match=r"seen \d s ago"):
        acquire(store)


def test_one_of_several_takes_over(store: Store) -> None:
    acquire(store).release()
    start = threading.Barrier(6)

    def attempt(number: int) -> bool:
        start.wait()
        try:
            acquire(store)
        except OutputError:
            return False
        return True

    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(attempt, range(6))).count(True) == 1


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"process": "x"}'])
def test_a_ruined_lease_is_free(tmp_path: Path, content: bytes) -> None:
    store = open_store(tmp_path)
    store.write("run/lease-000003.json", content)
    acquire(store)
    assert leases(store) == ["run/lease-000004.json"]


def test_a_driver_that_was_asleep_while_two_others_came_and_went(store: Store) -> None:
    """It saw lease 1 free, and takes number 2 only when number 3 is held and number 2 removed."""
    late = Lease(store, 2)
    for number in (1, 2, 3):
        held = acquire(store)
        if number < 3:
            held.release()
    assert not late.take()
    held.renew()
    held.check()


@pytest.mark.parametrize("kind", ["local", "s3"])
def test_a_killed_process_holds_nothing(kind: str, tmp_path: Path, object_store: FreshUrl) -> None:
    url = str(tmp_path) if kind == "local" else object_store()
    code = (
        "import sys, time\nfrom augment.ledger.ledger import Ledger\n"
        "with Ledger(sys.argv[1]).lock():\n    print('locked', flush=True)\n    time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, url], stdout=subprocess.PIPE, cwd=ROOT, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "locked\n"
        with pytest.raises(OutputError, match=f"process {holder.pid} on"):
            acquire(open_store(url))
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    acquire(open_store(url))


@pytest.mark.parametrize("elsewhere", [{"host": "another"}, {"numbers": "pid:[1]"}])
def test_a_process_elsewhere_may_well_live(tmp_path: Path, elsewhere: dict[str, str]) -> None:
    """Its number says nothing here: on another machine, or in another container of this one."""
    store = open_store(tmp_path)
    acquire(store)
    change(store, 1, process=2**30, **elsewhere)
    with pytest.raises(OutputError, match=f"process {2**30} on {elsewhere.get('host', socket.gethostname())}, "):
        acquire(store)
    change(store, 1, host=socket.gethostname(), numbers=os.readlink("/proc/self/ns/pid"))
    acquire(store)


@pytest.mark.parametrize("wrong", variants([-3600.0, 3600.0], kept=[-3600.0]), ids=["behind", "ahead"])
def test_a_holder_whose_clock_is_wrong_is_found_alive_by_watching_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: float
) -> None:
    """Its lease looks old, or as if from the future. As long as it is written again and again it is held."""
    monkeypatch.setattr("augment.ledger.lease.SECONDS", 12.0)  # ends early: one change is enough
    store = open_store(tmp_path)
    acquire(store)
    done = threading.Event()

    def renewing() -> None:
        while not done.wait(0.1):
            change(store, 1, host="another", renewed=time.time() + wrong)

    change(store, 1, host="another", renewed=time.time() + wrong)
    thread = threading.Thread(target=renewing)
    thread.start()
    try:
        with pytest.raises(OutputError, match=rf"process {os.getpid()} on another, seen just now"):
            acquire(store)
    finally:
        done.set()
        thread.join()
    monkeypatch.setattr("augment.ledger.lease.SECONDS", 0.6)
    acquire(store).check()  # once it is not
    assert leases(store) == ["run/lease-000002.json"]


def test_a_holder_elsewhere_that_lets_go_while_it_is_watched_holds_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("augment.ledger.lease.SECONDS", 6.0)  # ends early, once it has let go
    store = open_store(tmp_path)
    acquire(store)
    change(store, 1, host="another", renewed=time.time() - 3600)

    def let_go() -> None:
        with suppress(FileNotFoundError):  # on a machine so busy that it was taken over before
            change(store, 1, released=True)

    letting_go = threading.Timer(0.3, let_go)
    letting_go.start()
    try:
        acquire(store).check()
    finally:
        letting_go.join()


def test_who_holds_it_is_said_without_waiting(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    acquire(store)
    change(store, 1, host="another", renewed=time.time() + 3600)
    assert holder(store).endswith("on another, whose clock is ahead")
    change(store, 1, renewed=time.time() - 3600)
    assert holder(store) == ""


def test_it_is_renewed_for_as_long_as_the_block_lasts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("augment.ledger.lease.SECONDS", 0.06)
    store = open_store(tmp_path)
    attempts = threading.Semaphore(0)
    lease = acquire(store)

    class Failing:  # every second attempt
        def renew(self) -> None:
            if failures.acquire(blocking=False):
                raise OSError("no disk for a moment")
            lease.renew()
            attempts.release()
            failures.release()

        def release(self) -> None:
            lease.release()

    failures = threading.Semaphore(1)
    before = json.loads(store.read("run/lease-000001.json"))["renewed"]
    with kept_alive(cast(Lease, Failing())):
        for _ in range(3):  # goes on, whatever happens in an attempt
            assert attempts.acquire(timeout=10)
        content = json.loads(store.read("run/lease-000001.json"))
        assert content["renewed"] > before
        assert not content["released"]
    assert json.loads(store.read("run/lease-000001.json"))["released"]


def test_a_store_that_cannot_create_a_file_only_once(object_store: FreshUrl, faults: list[Fault]) -> None:
    """Some speak S3 and do not know conditional writes."""
    faults.append(Fault("PUT", ".json", times=2, ignores="HTTP_IF_NONE_MATCH"))
    with pytest.raises(OutputError, match=r"this store lets two writers create the same file, .* conditional writes"):
        acquire(open_store(object_store()))


def test_the_answer_to_taking_it_is_lost(object_store: FreshUrl, faults: list[Fault]) -> None:
    """The client asks a second time, and finds its own lease there."""
    store = open_store(object_store())
    faults.append(Fault("PUT", ".json", carried_out=True))
    acquire(store).check()
    assert leases(store) == ["run/lease-000001.json"]


def test_a_holder_that_was_suspended_asks_before_it_says_so(store: Store) -> None:
    """However lately it was renewed: clocks stand still while a machine sleeps."""
    first = acquire(store)
    first.confirm()
    change(store, 1, renewed=time.time() - SECONDS - 1)
    acquire(store)
    with pytest.raises(OutputError, match="was taken over by another run"):
        first.confirm()


def test_machines_with_the_same_name_are_told_apart(store: Store) -> None:
    acquire(store)
    change(store, 1, boot="of another machine", process=2**30)
    with pytest.raises(OutputError, match="written by another run"):
        acquire(store)
    change(store, 1, boot=Path("/proc/sys/kernel/random/boot_id").read_text().strip())
    acquire(store)
