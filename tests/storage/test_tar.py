"""Tars: same samples, same bytes; nothing half-written; read back by the same rule as webdataset."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path

import pytest
from webdataset.tariterators import group_by_keys, tar_file_expander

from augment.storage.tar import (
    iter_tar,
    sha256_file,
    split_member_name,
    write_bytes_atomic,
    write_tar,
)

SAMPLES = [
    ("b/two", {"txt": b"two", "png": b"\x89PNG-2", "cls": b"1"}),
    ("a/one", {"png": b"", "seg.png": b"mask", "cls": b"0"}),
    ("x" * 180, {"cls": b"7"}),
]


def test_same_samples_give_the_same_bytes_whatever_the_order_of_files_and_the_clock(tmp_path: Path) -> None:
    assert write_tar(tmp_path / "first.tar", SAMPLES) == 3
    write_tar(tmp_path / "new" / "second.tar", [(key, dict(reversed(files.items()))) for key, files in SAMPLES])
    assert (tmp_path / "first.tar").read_bytes() == (tmp_path / "new" / "second.tar").read_bytes()
    with tarfile.open(tmp_path / "first.tar") as tar:
        members = tar.getmembers()
    assert [m.name for m in members[:3]] == ["b/two.cls", "b/two.png", "b/two.txt"]
    assert {(m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode) for m in members} == {(0, 0, 0, "", "", 0o644)}


def test_reads_back_what_was_written_and_agrees_with_webdataset(tmp_path: Path) -> None:
    path = tmp_path / "shard.tar"
    write_tar(path, SAMPLES)
    ours = list(iter_tar(path))
    assert ours == [(key, dict(sorted(files.items()))) for key, files in SAMPLES]
    with path.open("rb") as file:
        theirs = list(group_by_keys(tar_file_expander([{"url": "shard", "stream": file}])))
    for (key, files), sample in zip(ours, theirs, strict=True):
        assert sample["__key__"] == key
        assert {k: v for k, v in sample.items() if not k.startswith("__")} == files


def test_members_that_are_no_sample_files_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "foreign.tar"
    with tarfile.open(path, "w") as tar:
        folder = tarfile.TarInfo("photos.d")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        for name in ("README", "photos.d/a.v1.JPG", "photos.d/a.cls"):
            member = tarfile.TarInfo(name)
            member.size = 1
            tar.addfile(member, io.BytesIO(b"x"))
    assert list(iter_tar(path)) == [("photos.d/a", {"v1.jpg": b"x", "cls": b"x"})]


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a.png", ("a", "png")), ("v1.0/a.b.PNG", ("v1.0/a", "b.png")), ("a", None), ("d/.hidden", None), ("a.", None)],
)
def test_names_are_split_at_the_first_dot_of_the_last_part(name: str, expected: tuple[str, str] | None) -> None:
    assert split_member_name(name) == expected


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ([("a.b", {"png": b""})], "characters other than"),
        ([("a b", {"png": b""})], "characters other than"),
        ([("a", {"png": b""}), ("b", {"png": b""}), ("a", {"png": b""})], "occurs twice"),
        ([("a", {"png": b""}), ("b", {".png": b""})], "lower-case extension"),
        ([("a", {})], "has no files"),
    ],
)
def test_a_sample_that_readers_would_misunderstand_is_refused_and_leaves_the_old_tar(
    tmp_path: Path, samples: list[tuple[str, dict[str, bytes]]], message: str
) -> None:
    path = tmp_path / "shard.tar"
    write_bytes_atomic(path, b"old")
    with pytest.raises(ValueError, match=message):
        write_tar(path, samples)
    assert [p.name for p in tmp_path.iterdir()] == ["shard.tar"]
    assert path.read_bytes() == b"old"


def test_a_truncated_tar_is_an_error_not_a_short_list(tmp_path: Path) -> None:
    path = tmp_path / "shard.tar"
    write_tar(path, [("a", {"png": b"x" * 5000})])
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(tarfile.TarError):
        list(iter_tar(path))


@pytest.mark.parametrize("tail", [b"", b"x" * 300, b"x" * 1024])
def test_a_tar_cut_between_two_members_is_an_error_too(tmp_path: Path, tail: bytes) -> None:
    path = tmp_path / "shard.tar"
    write_tar(path, [("a", {"png": b"x"}), ("b", {"png": b"x"})])
    path.write_bytes(path.read_bytes()[:1024] + tail)  # a header, a block of data, and then nothing, or garbage
    with pytest.raises(tarfile.TarError, match="no end-of-archive mark"):
        list(iter_tar(path))
    with path.open("rb") as file, pytest.raises(tarfile.TarError, match="no end-of-archive mark"):
        list(iter_tar(file))


def test_sha256_of_a_file(tmp_path: Path) -> None:
    write_bytes_atomic(tmp_path / "deep" / "file", b"augment" * 100_000)
    assert sha256_file(tmp_path / "deep" / "file") == hashlib.sha256(b"augment" * 100_000).hexdigest()
