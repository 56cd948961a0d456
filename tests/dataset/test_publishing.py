"""Publishing on a disk and on an object store, and what is left when it fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from augment.dataset.generation import published_files, read_manifest
from augment.dataset.parts import read_part, read_reconstructions
from augment.dataset.verify import verify
from augment.errors import OutputError
from augment.ledger.ledger import Ledger
from tests.dataset.parts import CLASS_NAMES, FINGERPRINT, finished_ledger, publish, shard_of
from tests.dataset.steps import content, forget_renewal, take_over
from tests.object_store import Fault, FreshUrl
from tests.variants import variants


def test_an_object_store_gets_the_bytes_that_a_disk_gets(tmp_path: Path, object_store: FreshUrl) -> None:
    publish(finished_ledger(tmp_path), max_shard_samples=3)
    remote = finished_ledger(object_store())
    publish(remote, 0.9, max_shard_samples=1)  # leaves more shards behind than there will be
    first = publish(remote, max_shard_samples=3)
    names = ["manifest.json", "index.parquet", "README.md", *first.manifest["files"]]
    assert len(names) == 12
    assert {name: remote.store.read(name) for name in names} == {name: (tmp_path / name).read_bytes() for name in names}
    store = remote.store
    assert published_files(store) | store.list() == {name: (tmp_path / name).stat().st_size for name in names}
    assert store.list("run/publishing") == {} and store.folders("run/publishing") == set()
    second = publish(remote, check_hashes=True, max_shard_samples=3)
    assert (first.changed, second.changed, second.manifest) == (True, False, first.manifest)


@pytest.mark.parametrize(
    ("where", "published"),
    variants(
        [
            ("run/publishing/000000/{shard}", "old"),
            ("out-new/{shard}", "old"),
            ("out-new/manifest.json", "old"),
            ("out-new/index.parquet", "new"),
        ],
        kept=[("out-new/manifest.json", "old"), ("out-new/index.parquet", "new")],
    ),
)
def test_a_store_that_fails_while_publishing(
    tmp_path: Path, object_store: FreshUrl, faults: list[Fault], where: str, published: str
) -> None:
    ledger = finished_ledger(f"{object_store()}/out-new")
    local = finished_ledger(tmp_path)
    manifests = {"old": publish(ledger, 0.9).manifest, "new": publish(local).manifest}
    faults.append(Fault("PUT", where.format(shard=shard_of(local)), "403 Forbidden", "AccessDenied"))
    with pytest.raises(PermissionError):
        publish(ledger)
    manifest = read_manifest(ledger.store)
    assert manifest == manifests[published]
    assert all(ledger.store.sha256(name) == entry["sha256"] for name, entry in manifest["files"].items())
    assert publish(ledger).changed
    assert not publish(ledger, check_hashes=True).changed
    assert verify(ledger.store.url).problems == []


def test_a_disk_that_fails_while_publishing(tmp_path: Path) -> None:
    ledger = finished_ledger(tmp_path)
    before = publish(ledger).manifest
    (tmp_path / "index.parquet").unlink()
    (tmp_path / "index.parquet" / "in the way").mkdir(parents=True)
    with pytest.raises(OSError, match=r"index\.parquet"):
        publish(ledger)
    assert read_manifest(ledger.store) == before
    (tmp_path / "index.parquet" / "in the way").rmdir()
    (tmp_path / "index.parquet").rmdir()
    assert publish(ledger).manifest == before
    assert not publish(ledger, check_hashes=True).changed


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_any_number_of_processes_publishes_the_same_bytes(tmp_path: Path, processes: int) -> None:
    """One of them is this process."""
    one, several = finished_ledger(tmp_path / "one", count=24), finished_ledger(tmp_path / "several", count=24)
    first = publish(one, max_shard_samples=5)
    names = [*first.manifest["files"], "manifest.json", "index.parquet", "README.md"]
    assert len(names) > 20
    publish(several, max_shard_samples=5, processes=processes)
    assert {name: several.store.read(name) for name in names} == {name: one.store.read(name) for name in names}
    assert verify(tmp_path / "several", processes=processes).problems == []
    shard = tmp_path / "several" / shard_of(several, 1)
    shard.write_bytes(shard.read_bytes()[:-20000])
    problems = verify(tmp_path / "several", processes=processes).problems
    assert any(problem.startswith(f"{shard_of(several, 1)}: not a readable tar") for problem in problems)


def test_what_other_processes_find_is_raised_here(tmp_path: Path) -> None:
    ledger = finished_ledger(tmp_path, count=24)
    (tmp_path / "parts" / ledger.report_of("u000007").part).write_bytes(b"damaged")
    with pytest.raises(OutputError, match=r"is missing or damaged.*Delete .*u000007\.json"):
        publish(ledger, processes=2)
    assert read_manifest(ledger.store) is None


@pytest.mark.parametrize("kind", ["local", "s3"])
@pytest.mark.parametrize("damage", ["one byte", "cut off", "missing"])
def test_a_damaged_part_is_an_error_that_says_what_to_delete(
    tmp_path: Path, kind: str, damage: str, request: pytest.FixtureRequest
) -> None:
    ledger = finished_ledger(tmp_path if kind == "local" else request.getfixturevalue("object_store")())
    report = ledger.report_of("u000001")
    part = f"parts/{report.part}"
    data = ledger.store.read(part)
    if damage == "missing":
        ledger.store.remove([part])
        message = rf"{part} is missing or damaged"
        with pytest.raises(OutputError, match=message):
            list(read_part(ledger, report))
        with pytest.raises(OutputError, match=message):
            read_reconstructions(ledger, report)
        with pytest.raises(OutputError, match="1 of 3 units are not done"):  # it is as if it had never been done
            publish(ledger)
    else:
        ledger.store.write(part, data[:-1] + b"x" if damage == "one byte" else data[:2000])
        with pytest.raises(OutputError, match=rf"{part} is missing or damaged.*Delete {ledger.store}.*u000001\.json"):
            publish(ledger)
    assert read_manifest(ledger.store) is None


@pytest.mark.parametrize("minimum", variants((0.0, 0.9), kept=[0.9]), ids=["the old one again", "another one"])
@pytest.mark.parametrize("times", variants(range(4), kept=[1, 3]), ids=["shards", "manifest", "index", "removal"])
def test_on_an_object_store_a_driver_that_lost_its_lock_spoils_nothing(
    object_store: FreshUrl, times: int, minimum: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Suspended between the last look at its lock and the change, until another one has taken over and finished."""
    ledger, calls = finished_ledger(object_store()), iter(range(10**6))
    other = Ledger(ledger.store.url)
    with other.lock():
        publish(other, 0.0, max_shard_samples=2)
    found: dict[str, bytes] = {}

    def suspended() -> None:
        confirm()
        if next(calls) == times:
            take_over(other, lambda ledger: publish(ledger, minimum, max_shard_samples=2))
            found.update(content(other.store))

    def driver() -> None:
        with ledger.lock():
            monkeypatch.setattr(ledger, "confirm_lock", suspended)
            publish(ledger, max_shard_samples=3)

    confirm = ledger.confirm_lock
    with pytest.raises(OutputError, match="was taken over by another run"):
        driver()
    assert content(other.store) == found
    assert verify(other.store.url).problems == []


@pytest.mark.parametrize("kind", ["local", "s3"])
def test_what_a_lost_plan_leaves_is_removed_by_the_holder_of_the_lock_only(
    tmp_path: Path, kind: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Suspended while it removes the units of the old plan, until another one has gone back to that plan."""
    out = str(tmp_path / "out") if kind == "local" else request.getfixturevalue("object_store")()
    ledger, other = finished_ledger(out), Ledger(out)
    units = list(ledger.units())
    plan = ledger.write_plan({"seed": 1}, units[:1], CLASS_NAMES)
    confirm, found = ledger.confirm_lock, dict[str, bytes]()

    def suspended() -> None:
        if kind == "s3":  # there the last look at the lock is all there is
            goes_back()
        confirm()
        if kind == "local":
            goes_back()

    def goes_back() -> None:
        if not found:
            forget_renewal(other.store)
            with other.lock():
                other.write_plan(FINGERPRINT, units, CLASS_NAMES)
                publish(other)
            found.update(content(other.store))

    def driver() -> None:
        with ledger.lock():
            monkeypatch.setattr(ledger, "confirm_lock", suspended)
            ledger.forget_other_plans(plan)

    with pytest.raises(OutputError, match="was taken over by another run"):
        driver()
    assert content(other.store) == found
    assert len([name for name in found if name.startswith("commits/")]) == len(units) == 3
