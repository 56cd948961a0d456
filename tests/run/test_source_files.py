"""Sources that cannot be read: one file or the whole store, for a moment or for good; on a disk and in a store."""

from __future__ import annotations

import errno
import gc
import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import fsspec
import pytest

from augment.errors import InputError, UnreachableError
from augment.inputs import locate
from augment.run import source_files
from augment.run.source_files import SourceReader
from augment.types import Source
from tests.object_store import Fault, FreshUrl

Opens = Counter[str]


def source(path: Path | str, mask: str = "") -> Source:
    return Source(Path(path).stem, str(path), 0, 0, "fox", mask=mask)


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_files, "PAUSES", (0.0, 0.0, 0.0))


@pytest.fixture
def files(tmp_path: Path) -> list[Source]:
    for name in "abcd":
        (tmp_path / f"{name}.png").write_bytes(name.encode())
    return [source(tmp_path / f"{name}.png") for name in "abcd"]


@pytest.fixture
def fail(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, dict[str, int]], Opens]:
    """Let the opening of local files fail: an error number, and how often by the file's name; counts all openings."""
    really_open = locate._open_local

    def begin(number: int, times: dict[str, int]) -> Opens:
        opens = Opens()

        def open_local(path: str) -> BinaryIO:
            name = Path(path).stem
            opens[name] += 1
            if opens[name] <= times.get(name, times.get("all others", 0)):
                raise OSError(number, os.strerror(number), path)
            return really_open(path)

        monkeypatch.setattr(locate, "_open_local", open_local)
        return opens

    return begin


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.ETIMEDOUT])
def test_an_error_that_passes_is_not_seen(files: list[Source], fail: Callable[..., Opens], number: int) -> None:
    opens = fail(number, {"a": 3})
    assert SourceReader().read(files[0]).picture == b"a"
    assert opens == {"a": 4}


def test_a_mask_is_read_as_patiently_as_the_picture(tmp_path: Path, fail: Callable[..., Opens]) -> None:
    for name in "am":
        (tmp_path / f"{name}.png").write_bytes(name.encode())
    fail(errno.EIO, {"m": 2})
    assert SourceReader().read(source(tmp_path / "a.png", mask=str(tmp_path / "m.png"))).mask == b"m"


def test_a_file_that_is_not_there_is_not_asked_for_again(files: list[Source], fail: Callable[..., Opens]) -> None:
    opens = fail(errno.ENOENT, {"a": 9})
    with pytest.raises(InputError, match=r"a\.png: No such file") as caught:
        SourceReader().read(files[0])
    assert type(caught.value) is InputError
    assert opens == {"a": 1}


def test_one_bad_file_among_good_ones_fails_alone(files: list[Source], fail: Callable[..., Opens]) -> None:
    opens = fail(errno.EIO, {"b": 99})
    reader = SourceReader()
    assert reader.read(files[0]).picture == b"a"
    with pytest.raises(InputError, match=r"b\.png: Input/output error") as caught:
        reader.read(files[1])
    assert type(caught.value) is InputError
    assert opens == {"a": 2, "b": 4}  # the good one was read once more
    assert reader.read(files[2]).picture == b"c"


def test_the_first_file_of_all_may_be_the_bad_one(files: list[Source], fail: Callable[..., Opens]) -> None:
    fail(errno.EIO, {"a": 99})
    reader = SourceReader()
    reader.expect(files)
    with pytest.raises(InputError) as caught:
        reader.read(files[0])
    assert type(caught.value) is InputError


def test_when_no_file_can_be_read_the_store_is_away(files: list[Source], fail: Callable[..., Opens]) -> None:
    reader = SourceReader()
    reader.expect(files)
    assert [reader.read(each).picture for each in files[:3]] == [b"a", b"b", b"c"]
    opens = fail(errno.ESTALE, {"all others": 99})
    with pytest.raises(UnreachableError, match=r"d\.png: Stale file handle"):
        reader.read(files[3])
    assert opens == {"d": 4, "a": 1, "b": 1, "c": 1}


def test_another_disk_that_answers_proves_nothing(
    files: list[Source], fail: Callable[..., Opens], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_files, "_store_of", lambda each: each.key)  # as if each lay on a disk of its own
    reader = SourceReader()
    assert reader.read(files[0]).picture == b"a"
    fail(errno.EIO, {"b": 99})
    with pytest.raises(UnreachableError):
        reader.read(files[1])


def test_what_is_away_as_a_whole() -> None:
    places = (
        "/mnt/a/x/1.png",
        "/mnt/b/x/1.png",
        "s3://a/x/1.png",
        "s3://b/x/1.png",
        "http://a/1.png",
        "https://b/2.png",
    )
    stores = [source_files._store_of(source(place)) for place in places]
    assert stores == ["/mnt/a", "/mnt/b", "s3://a", "s3://b", "web", "web"]


# --- S3


@pytest.fixture
def bucket(object_store: FreshUrl, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A folder with the objects `a.png` and `b.png`, and clients that ask once."""
    from s3fs import S3FileSystem

    url = object_store()
    fs, root = fsspec.core.url_to_fs(url)
    for name in "ab":
        fs.pipe_file(f"{root}/{name}.png", name.encode())
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    S3FileSystem.clear_instance_cache()
    yield url
    S3FileSystem.clear_instance_cache()
    del fs
    gc.collect()  # closes the connections


def test_an_object_whose_server_stumbles_is_read(bucket: str, faults: list[Fault]) -> None:
    faults.append(Fault("GET", "a.png", times=3))
    assert SourceReader().read(source(f"{bucket}/a.png")).picture == b"a"
    assert faults[0].times == 0


def test_an_object_that_is_refused_or_gone_fails_at_once(bucket: str, faults: list[Fault]) -> None:
    faults.append(Fault("GET", "a.png", "403 Forbidden", "AccessDenied", times=2))
    with pytest.raises(InputError) as caught:
        SourceReader().read(source(f"{bucket}/a.png"))
    assert (type(caught.value), faults[0].times) == (InputError, 1)
    with pytest.raises(InputError, match=r"gone\.png: No such file"):
        SourceReader().read(source(f"{bucket}/gone.png"))


def test_a_store_that_answers_with_errors_only_is_away(bucket: str, faults: list[Fault]) -> None:
    reader, a, b = SourceReader(), source(f"{bucket}/a.png"), source(f"{bucket}/b.png")
    assert reader.read(b).picture == b"b"
    faults.append(Fault("GET", "a.png", times=99))
    with pytest.raises(InputError) as caught:
        reader.read(a)
    assert type(caught.value) is InputError  # the other one can be read
    faults.append(Fault("GET", "b.png", times=99))
    with pytest.raises(UnreachableError, match=r"a\.png: "):
        reader.read(a)
    faults.clear()
    assert reader.read(a).picture == b"a"
