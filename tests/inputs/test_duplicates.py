"""The same picture in two classes is found by its bytes, at a bounded cost."""

from __future__ import annotations

from pathlib import Path

import pytest

from augment.inputs import duplicates
from augment.inputs.duplicates import same_pictures
from augment.inputs.readers import list_sources
from augment.storage.tar import write_bytes_atomic, write_tar
from augment.types import Source


def keys(root: Path, files: dict[str, bytes]) -> tuple[list[list[str]], int, int]:
    for name, data in files.items():
        write_bytes_atomic(root / name, data)
    found = same_pictures(list_sources(root, "imagefolder").sources)
    return sorted(sorted(s.key for s in group) for group in found.same), found.compared, found.candidates


def test_equal_files_of_two_classes(tmp_path: Path) -> None:
    files = {
        "fox/1.png": b"aaaa",
        "fox/2.png": b"bbbb",
        "fox/3.png": b"aaaa",
        "owl/1.png": b"aaaa",
        "owl/2.png": b"cccc",
        "bus/9.png": b"bbbb",
        "bus/8.png": b"ee",
        "bus/7.png": b"ee",  # twice in one class
    }
    assert keys(tmp_path, files) == ([["bus/9", "fox/2"], ["fox/1", "fox/3", "owl/1"]], 6, 6)


def test_members_of_tars(tmp_path: Path) -> None:
    samples = [
        (f"s{i}", {"png": data, "cls": b"%d" % i, "json": b'{"class_name": "c%d"}' % i})
        for i, data in enumerate((b"same", b"else", b"same"))
    ]
    write_tar(tmp_path / "0.tar", samples)
    found = same_pictures(list_sources(tmp_path / "0.tar", "webdataset").sources)
    assert [[s.key for s in group] for group in found.same] == [["s0", "s2"]]


def test_files_that_are_gone_or_remote_are_left_out(tmp_path: Path) -> None:
    write_bytes_atomic(tmp_path / "a.png", b"same")
    sources = [
        Source("a", str(tmp_path / "a.png"), 4, 0, "fox"),
        Source("b", str(tmp_path / "gone.png"), 4, 1, "owl"),
        Source("c", "s3://bucket/c.png", 4, 1, "owl"),
        Source("d", str(tmp_path / "a.png"), 0, 1, "owl"),  # its size is not known
    ]
    found = same_pictures(sources)
    assert (found.same, found.compared, found.candidates) == ((), 2, 2)


def test_no_more_than_the_limits_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {f"{c}/{i}.png": b"x" * 9 for c in ("fox", "owl") for i in range(4)} | {
        "fox/s.png": b"y",
        "owl/s.png": b"y",
    }
    monkeypatch.setattr(duplicates, "MAX_FILES", 9)
    assert keys(tmp_path, files) == ([["fox/s", "owl/s"]], 2, 10)
    monkeypatch.setattr(duplicates, "MAX_FILES", 10)
    assert keys(tmp_path, files)[1:] == (10, 10)
    monkeypatch.setattr(duplicates, "MAX_BYTES", 73)
    assert keys(tmp_path, files)[1:] == (2, 10)
