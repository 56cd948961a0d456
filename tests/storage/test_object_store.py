"""What only object stores do: refusals, folder marks, uploads that fail, errors of the client."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from augment.errors import StoreError
from augment.storage.resolve import open_store
from tests.object_store import BUCKET, Fault, FreshUrl
from tests.storage.test_store import put


def test_a_store_that_cannot_promise_is_refused() -> None:
    with pytest.raises(
        StoreError, match=r"sftp://host/out: an output needs a local path or one of s3://, .*two writers"
    ):
        open_store("sftp://host/out")


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, "s3", raising=False)
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(StoreError, match=r"s3://bucket/out: .*; pip install 'rnri-augment\[s3\]'"):
        open_store("s3://bucket/out")


def test_a_folder_mark_is_no_file(object_store: FreshUrl) -> None:
    """Consoles make an empty object with the name of the folder."""
    store = open_store(object_store())
    for name in ("commits/", "commits/sub/", "commits/u0.json"):
        store.write(name, b"")
    assert store.list("commits") == {"commits/u0.json": 0}


@pytest.mark.parametrize("code", ["PreconditionFailed", "ConditionalRequestConflict"])
def test_another_writer_at_the_same_moment(code: str, object_store: FreshUrl, faults: list[Fault]) -> None:
    """S3 says 409 while another conditional write goes on; other stores word a refusal in their own way."""
    store = open_store(object_store())
    faults.append(Fault("PUT", "u0.json", "409 Conflict", code))
    assert store.create("commits/u0.json", b"x") == (code == "ConditionalRequestConflict")
    assert store.exists("commits/u0.json") == (code == "ConditionalRequestConflict")


def test_a_refused_upload_leaves_no_object(object_store: FreshUrl, faults: list[Fault]) -> None:
    store = open_store(object_store())
    faults.append(Fault("PUT", "u0.tar", "403 Forbidden", "AccessDenied"))
    with pytest.raises(PermissionError, match="a fault of the test"):
        put(store, "parts/u0.tar", b"x" * 100_000)
    assert store.list("parts") == {}


def test_a_large_upload_that_fails_leaves_no_pieces(
    tmp_path: Path, object_store: FreshUrl, faults: list[Fault]
) -> None:
    """Pieces of an upload that is neither finished nor given up cannot be seen, and are paid for."""
    import boto3

    store = open_store(object_store())
    with (tmp_path / "u0.tar").open("wb") as file:
        file.truncate(101 * 2**20)
    faults.append(Fault("PUT", "u0.tar", "403 Forbidden", "AccessDenied"))
    with pytest.raises(PermissionError):
        store.put(tmp_path / "u0.tar", "parts/u0.tar")
    assert faults[0].times == 0
    assert store.list("parts") == {}
    client = boto3.client("s3")
    assert client.list_multipart_uploads(Bucket=BUCKET).get("Uploads", []) == []
    client.close()
    assert (tmp_path / "u0.tar").exists()


def test_a_refused_removal_is_an_error(object_store: FreshUrl, faults: list[Fault]) -> None:
    store = open_store(object_store())
    store.write("manifest.json", b"{}")
    faults.append(Fault("DELETE", "manifest.json", "403 Forbidden", "AccessDenied"))
    with pytest.raises(PermissionError):
        store.remove(["manifest.json"])
    assert store.exists("manifest.json")


def test_errors_of_the_client_are_os_errors(object_store: FreshUrl, monkeypatch: pytest.MonkeyPatch) -> None:
    from s3fs import S3FileSystem

    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    S3FileSystem.clear_instance_cache()  # clients keep the credentials that they have begun with
    try:
        with pytest.raises(OSError, match=r"s3://.*/a: NoCredentialsError"):
            open_store(object_store()).write("a", b"x")
    finally:
        S3FileSystem.clear_instance_cache()
