"""Data sets in a store: the same rows and bytes as of the same files on disk, and messages that say what is wrong."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import fsspec
import pytest

from augment.errors import InputError
from augment.inputs.readers import list_sources, read_bytes
from augment.storage.tar import write_tar
from augment.types import Source
from tests.inputs.test_readers import make_folder, record
from tests.object_store import Fault, FreshUrl


def upload(folder: Path, url: str) -> None:
    fs, root = fsspec.core.url_to_fs(url)
    fs.put(f"{folder}/", root, recursive=True)


def without_place(sources: list[Source], root: str) -> list[tuple[Source, str]]:
    return [(replace(s, locator=""), os.path.relpath(s.locator.removeprefix(root), "/")) for s in sources]


@pytest.fixture
def bucket() -> Iterator[str]:
    """The URL of an empty folder that lives in memory."""
    yield "memory://bucket/data"
    fsspec.filesystem("memory").rm("/bucket", recursive=True)


def test_a_remote_folder_is_listed_like_a_local_one(tmp_path: Path, bucket: str) -> None:
    make_folder(tmp_path, ["owl/b c.JPG", "owl/deep/a.webp", "fox/1.png", "fox/notes.txt", "fox/.x.png", ".git/x.png"])
    upload(tmp_path, bucket)
    for format, class_names in (("imagefolder", None), ("flat", {3: "bird"})):
        here, there = (list_sources(root, format, class_names).sources for root in (tmp_path, bucket))  # type: ignore[arg-type]
        assert len(here) == 3
        assert without_place(there, bucket) == without_place(here, str(tmp_path))
        assert [read_bytes(s) for s in there] == [read_bytes(s) for s in here]
        assert there[0].locator == f"{bucket}/fox/1.png"
    assert list_sources(f"file://{tmp_path}", "imagefolder").sources == list_sources(tmp_path, "imagefolder").sources


def test_remote_tars_are_listed_and_read_like_local_ones(tmp_path: Path, bucket: str) -> None:
    details = record(1, "owl", background="snow") | {"txt": b"an owl"}
    write_tar(tmp_path / "0.tar", [("a", record() | {"png": b""}), ("b", details)])
    write_tar(tmp_path / "1.tar", [("a", record() | {"png": bytes(range(256)) * 40})])
    upload(tmp_path, bucket)
    here = list_sources(tmp_path, "webdataset").sources
    assert len(here) == 3
    for place in (
        bucket,
        f"{bucket}/",
        f"{bucket}/{{0..1}}.tar",
        f"{bucket}/*.tar",
        [f"{bucket}/1.tar", f"{bucket}/0.tar"],
    ):
        there = list_sources(place, "webdataset").sources
        assert without_place(there, bucket) == without_place(here, str(tmp_path))
        assert [read_bytes(s) for s in there] == [read_bytes(s) for s in here]
    assert there[2].locator == f"{bucket}/0.tar::b.png@5120"


def test_a_remote_tar_that_changes_is_indexed_anew(tmp_path: Path, bucket: str) -> None:
    def put(samples: list[tuple[str, dict[str, bytes]]]) -> None:
        write_tar(tmp_path / "0.tar", samples)
        upload(tmp_path, bucket)

    put([("a", record())])
    (source,) = list_sources(bucket, "webdataset").sources
    assert read_bytes(source) == b"picture"
    put([("0", {"png": b"x" * 9999, "cls": b"0"}), ("a", record() | {"png": b"other"})])
    assert read_bytes(source) == b"other"
    put([("b", record())])
    with pytest.raises(InputError, match=r"bucket/data/0\.tar: has no member 'a\.png'"):
        read_bytes(source)
    fsspec.filesystem("memory").rm("/bucket/data/0.tar")
    with pytest.raises(InputError, match=r"memory://bucket/data/0\.tar: No such file"):
        read_bytes(source)


def test_a_remote_tar_cut_short_is_no_small_dataset(tmp_path: Path, bucket: str) -> None:
    write_tar(tmp_path / "0.tar", [("a", record()), ("b", record())])
    data = (tmp_path / "0.tar").read_bytes()
    for size, message in ((3 * 1024, "no end-of-archive mark"), (700, "not a readable, uncompressed tar")):
        (tmp_path / "0.tar").write_bytes(data[:size])
        upload(tmp_path, bucket)
        with pytest.raises(InputError, match=f"memory://bucket/data/0.tar: .*{message}"):
            list_sources(bucket, "webdataset")


def test_unusable_urls(bucket: str) -> None:
    fsspec.filesystem("memory").pipe("/bucket/data/fox/readme.txt", b"")
    with pytest.raises(InputError, match=r"no image in memory://bucket/data: it holds 1 file\(s\) with \.txt"):
        list_sources(bucket, "imagefolder")
    for format in ("imagefolder", "flat", "webdataset", "manifest"):
        with pytest.raises(InputError, match="memory://bucket/nowhere: No such file or directory"):
            list_sources("memory://bucket/nowhere", format, {0: "fox"})  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"memory://bucket/data/a-\*\.tar: nothing there"):
        list_sources(f"{bucket}/a-*.tar", "webdataset")
    with pytest.raises(InputError, match="the first name after :// must be written out"):
        list_sources("memory://*/0.tar", "webdataset")
    with pytest.raises(InputError, match=r"nonsense://a.*Protocol not known: nonsense"):
        list_sources("nonsense://a", "imagefolder")


def test_the_package_that_a_store_needs_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)  # as if it were not installed
    monkeypatch.delitem(importlib.import_module("fsspec.registry")._registry, "s3", raising=False)
    with pytest.raises(InputError, match=r"s3://bucket/0\.tar: .*s3fs.*pip install 'rnri-augment\[s3\]'"):
        list_sources("s3://bucket/0.tar", "webdataset")


def test_many_threads_may_read_at_once(tmp_path: Path, bucket: str) -> None:
    make_folder(tmp_path / "images", [f"fox/{i}.png" for i in range(20)])
    write_tar(tmp_path / "tars" / "0.tar", [(f"{i}", record() | {"png": b"%d" % i * 999}) for i in range(20)])
    upload(tmp_path, bucket)
    for root in (str(tmp_path), bucket):
        sources = (
            list_sources(f"{root}/images", "imagefolder").sources + list_sources(f"{root}/tars", "webdataset").sources
        )
        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(read_bytes, sources * 5)) == [read_bytes(s) for s in sources] * 5


# --- S3


def test_s3_is_listed_and_read_like_a_disk(tmp_path: Path, object_store: FreshUrl) -> None:
    make_folder(tmp_path / "images", ["fox/a b.png", "owl/deep/c.png", "owl/notes.txt"])
    write_tar(tmp_path / "tars" / "0.tar", [("a", record() | {"png": b""}), ("b", record(1, "owl"))])
    (tmp_path / "rows.csv").write_text("path,label\nimages/fox/a b.png,fox\nimages/owl/deep/c.png,owl\n")
    url = object_store()
    upload(tmp_path, url)
    for format, place in (("imagefolder", "images"), ("webdataset", "tars"), ("webdataset", "tars/*.tar")):
        here, there = (list_sources(f"{root}/{place}", format).sources for root in (tmp_path, url))  # type: ignore[arg-type]
        assert len(here) == 2 and without_place(there, url) == without_place(here, str(tmp_path))
        assert [read_bytes(s) for s in there] == [read_bytes(s) for s in here]
    here, there = (list_sources(f"{root}/rows.csv", "manifest").sources for root in (tmp_path, url))
    assert [s.key for s in there] == [s.key for s in here]
    assert [read_bytes(s) for s in there] == [b"bytes of fox/a b.png", b"bytes of owl/deep/c.png"]
    assert [s.size for s in there] == [0, 0]  # nobody asks a store for a million sizes
    for source in there:
        with pytest.raises(InputError, match=r"gone\.png: No such file or directory"):
            read_bytes(replace(source, locator=f"{url}/gone.png"))
    with pytest.raises(InputError, match=f"{url}/nowhere: No such file or directory"):
        list_sources(f"{url}/nowhere", "imagefolder")


def test_a_store_that_refuses_or_ignores_ranges_is_no_silent_damage(
    tmp_path: Path, object_store: FreshUrl, faults: list[Fault]
) -> None:
    write_tar(tmp_path / "0.tar", [("a", record())])
    url = object_store()
    upload(tmp_path, url)
    (source,) = list_sources(url, "webdataset").sources
    assert read_bytes(source) == b"picture"
    faults.append(Fault("GET", "0.tar", ignores="HTTP_RANGE"))
    with pytest.raises(InputError, match=r"0\.tar: \d+ bytes came instead of the 519 from \d+ on"):
        read_bytes(source)
    faults.append(Fault("GET", "0.tar", "403 Forbidden", "AccessDenied"))
    with pytest.raises(InputError, match=r"0\.tar: "):
        read_bytes(source)
    faults.append(Fault("GET", "0.tar", "403 Forbidden", "AccessDenied", times=9))
    with pytest.raises(InputError, match=r"0\.tar: "):
        list_sources(url, "webdataset")


def test_an_image_in_a_remote_tar_is_one_request_for_its_own_bytes(
    tmp_path: Path, object_store: FreshUrl, requests_seen: list[tuple[str, str, int]]
) -> None:
    """Whatever the tar's size: the listing knows where each file lies, and no header is walked again."""
    sizes = [1000 * (1 + i) for i in range(40)]
    write_tar(tmp_path / "0.tar", [(f"{i:03d}", record() | {"png": bytes(size)}) for i, size in enumerate(sizes)])
    url = object_store()
    upload(tmp_path, url)
    requests_seen.clear()
    sources = list_sources(url, "webdataset").sources
    listed = [seen for seen in requests_seen if seen[0] == "GET" and seen[1].endswith("0.tar")]
    assert sum(size for _, _, size in listed) <= (tmp_path / "0.tar").stat().st_size  # the tar is gone through once
    requests_seen.clear()
    chosen = [sources[i] for i in (31, 4, 17, 0, 39)]
    assert [len(read_bytes(source)) for source in chosen] == [sizes[i] for i in (31, 4, 17, 0, 39)]
    assert [(method, size) for method, _, size in requests_seen] == [
        ("GET", sizes[i] + 512)
        for i in (31, 4, 17, 0, 39)  # with the header that says that it is this file
    ]
