"""What the store needs of an S3 client beyond carrying out requests; `docs/cluster.md` says which client lacks what."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from augment.errors import InputError, StoreError
from augment.inputs.locate import open_file
from augment.storage.resolve import open_store
from augment.storage.retry import is_permanent
from augment.storage.store import Store
from tests.object_store import BUCKET, Fault, FreshUrl


@pytest.fixture
def new_clients() -> Iterator[None]:
    """Make clients anew: they keep the credentials that they have begun with."""
    from s3fs import S3FileSystem

    S3FileSystem.clear_instance_cache()
    yield
    S3FileSystem.clear_instance_cache()


class StopError(BaseException):
    """What a signal's handler raises, as KeyboardInterrupt is none that a client may take for its own."""


@pytest.mark.parametrize("what", ["read", "list", "create", "read_many"])
def test_a_stop_is_heard_while_a_store_is_silent(
    what: str, object_store: FreshUrl, faults: list[Fault], requests_seen: list[tuple[str, str, int]]
) -> None:
    """SIGTERM and SIGINT end a run in `run.drain_seconds`, and no call to a store may hold them up."""
    store = open_store(object_store())
    name = f"a/{what}"  # a call that was stopped lives on in its client, while the next test has begun
    if what != "create":
        store.write(name, b"1")
    calls: dict[str, Callable[[Store], object]] = {
        "read": lambda store: store.read(name),
        "list": lambda store: store.list("a"),
        "create": lambda store: store.create(name, b"2"),
        "read_many": lambda store: list(store.read_many([name])),
    }
    stopped, answered = threading.Event(), threading.Event()

    def silent() -> None:
        os.kill(os.getpid(), signal.SIGUSR1)
        stopped.wait(20)  # less than clients wait
        answered.set()

    def stop(*_: object) -> None:
        raise StopError

    before = signal.signal(signal.SIGUSR1, stop)
    requests_seen.clear()
    method, path_end = "PUT" if what == "create" else "GET", BUCKET if what == "list" else name
    # Answered well in the end, so that it is not asked once more.
    faults.append(Fault(method, path_end, holds=silent, ignores="HTTP_NOTHING"))
    try:
        with pytest.raises(StopError):
            calls[what](store)
        assert not answered.is_set()
        # It has not given up either, and asked again.
        assert not [path for asked, path, _ in requests_seen if asked == method and path.endswith(path_end)]
    finally:
        stopped.set()
        signal.signal(signal.SIGUSR1, before)


@pytest.mark.usefixtures("new_clients")
def test_keys_of_a_named_profile(tmp_path: Path, object_store: FreshUrl, monkeypatch: pytest.MonkeyPatch) -> None:
    url = object_store()
    (tmp_path / "keys").write_text("[lab]\naws_access_key_id = test\naws_secret_access_key = test\n")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    for name, value in {"AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "keys"), "AWS_PROFILE": "lab"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    store = open_store(url)
    assert store.create("a/x", b"1")
    assert store.list("a") == {"a/x": 1}


def test_a_refused_list_is_no_permission(object_store: FreshUrl, faults: list[Fault]) -> None:
    """Otherwise a run would ask again for ten minutes before it ended."""
    store = open_store(object_store())
    faults.append(Fault("GET", "", "403 Forbidden", "AccessDenied"))
    with pytest.raises(PermissionError) as raised:
        store.list("commits")
    assert is_permanent(raised.value, store)


def test_a_time_out_in_the_server_is_asked_again(object_store: FreshUrl, faults: list[Fault]) -> None:
    """S3 answers so where a body comes too slowly."""
    store = open_store(object_store())
    faults.append(Fault("PUT", "a/x", "400 Bad Request", "RequestTimeout"))
    assert store.create("a/x", b"1")
    assert faults[0].times == 0


@pytest.mark.parametrize(
    ("scheme", "package", "extra"),
    [("gs", "gcsfs", "gs"), ("gcs", "gcsfs", "gs"), ("az", "adlfs", "az"), ("abfss", "adlfs", "az")],
)
def test_a_missing_package_of_another_cloud_is_named(
    scheme: str, package: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, scheme, raising=False)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(StoreError, match=rf"{scheme}://bucket/out: .*; pip install 'rnri-augment\[{extra}\]'"):
        open_store(f"{scheme}://bucket/out")
    with pytest.raises(InputError, match=rf"{scheme}://bucket/0\.tar: .*: pip install 'rnri-augment\[{extra}\]'"):
        open_file(f"{scheme}://bucket/0.tar")


def test_azure_without_an_account_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    adlfs = pytest.importorskip("adlfs", reason="needs adlfs: pip install 'rnri-augment[az]'")
    adlfs.AzureBlobFileSystem.clear_instance_cache()
    for name in [name for name in os.environ if name.startswith("AZURE_")]:
        monkeypatch.delenv(name)
    with pytest.raises(
        StoreError, match=r"az://box/out: .*AZURE_STORAGE_CONNECTION_STRING or AZURE_STORAGE_ACCOUNT_NAME"
    ):
        open_store("az://box/out")
