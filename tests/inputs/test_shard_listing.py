"""Tars: which members are images, what is left out, and messages that name the kind of a problem and a remedy."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

import fsspec
import pytest

from augment.errors import InputError
from augment.inputs.readers import list_sources, read_bytes
from augment.inputs.shard_listing import parse_label
from augment.storage.tar import write_tar
from augment.types import MAX_LABEL
from tests.malformed import NOISE, encoded

PNG = encoded(NOISE, "PNG")
NAMES = {0: "fox", 1: "owl", 10: "eel"}


def pack(path: Path, members: Iterable[tuple[str, bytes | None]]) -> Path:
    """A tar with members in this order; None is a link."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            member = tarfile.TarInfo(name)
            if data is None:
                member.type, member.linkname = tarfile.SYMTYPE, "elsewhere.png"
            member.size = len(data or b"")
            tar.addfile(member, io.BytesIO(data or b""))
    return path


def sound(path: Path) -> Path:
    return pack(path, [("a.png", PNG), ("a.cls", b"0")])


def refusal(path: Path | str) -> str:
    with pytest.raises(InputError) as caught:
        list_sources(path, "webdataset", NAMES)
    return str(caught.value)


def test_members_are_images_by_extension_or_content_and_others_are_counted(tmp_path: Path) -> None:
    members: list[tuple[str, bytes | None]] = [
        ("LICENSE", b"free"),
        ("README.txt", b"about"),
        ("a.jfif", encoded(NOISE, "JPEG")),
        ("a.cls", b"0"),
        ("a.npy", b"\x93NUMPY"),
        ("a.seg.png", PNG),
        ("b.img", encoded(NOISE, "WEBP")),
        ("b.cls", b"0\n"),
        ("b.txt", b"a fox"),
        ("._b.img", b"AppleDouble"),
        (".DS_Store", b""),
        ("c", PNG),
        ("c.cls", b"1"),
        ("d.webp", encoded(NOISE, "WEBP")),
        ("d.png", PNG),
        ("d.tga", encoded(NOISE, "TGA")),
        ("d.cls", b"1"),
        ("e.png", None),
        ("f.mp4", b""),
    ]
    path = pack(tmp_path / "0.tar", members)
    listing = list_sources(path, "webdataset", NAMES)
    places = {s.key: (s.place.partition("::")[2], s.label, s.caption) for s in listing.sources}
    assert places == {
        "a": ("a.jfif", 0, ""),
        "b": ("b.img", 0, "a fox"),
        "c": ("c", 1, ""),
        "d": ("d.png", 1, ""),
    }
    contents = dict(members)
    assert [read_bytes(s) for s in listing.sources] == [contents[name] for name in ("a.jfif", "b.img", "c", "d.png")]
    expected = {"further image of a sample": 1, "hidden": 2, "data": 1, "link": 1, "text": 1, "unknown": 1, "video": 1}
    expected |= {f"further image of a sample (.{other}; its .png is taken)": 1 for other in ("webp", "tga")}
    assert listing.left_out == expected
    fsspec.filesystem("memory").pipe("/tars/0.tar", path.read_bytes())
    there = list_sources("memory://tars", "webdataset", NAMES)
    assert there.left_out == expected and [s.key for s in there.sources] == ["a", "b", "c", "d"]
    fsspec.filesystem("memory").rm("/tars", recursive=True)


def test_what_lies_beside_the_tars_is_counted(tmp_path: Path) -> None:
    sound(tmp_path / "0.tar")
    sound(tmp_path / "deep/1.tar")
    for name in ("0.parquet", "0_stats.json", ".cache", "2.tar.gz", "x"):
        (tmp_path / name).write_bytes(b"")
    listing = list_sources(tmp_path, "webdataset", NAMES)
    assert listing.left_out == {"archive": 1, "data": 1, "folder": 1, "hidden": 1, "text": 1, "unknown": 1}
    assert list_sources(tmp_path / "0.tar", "webdataset", NAMES).left_out == {}


@pytest.mark.parametrize(
    ("name", "packed", "command"),
    [
        ("gzip", gzip.compress, "gunzip -c"),
        ("bzip2", bz2.compress, "bunzip2 -c"),
        ("xz", lzma.compress, "xz -dc"),
    ],
)
def test_a_compressed_tar_is_called_by_its_kind(tmp_path: Path, name: str, packed: object, command: str) -> None:
    path = sound(tmp_path / "a.tar")
    path.write_bytes(packed(path.read_bytes()))  # type: ignore[operator]
    message = refusal(tmp_path)
    assert f"{path} is compressed with {name}, whatever its name says: " in message
    assert message.endswith(f"Unpack it: {command} {path} > PLAIN.tar")


def test_other_files_under_the_name_of_a_tar(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.png", PNG)
    assert "is a zip archive under the name of a tar. Unpack it with unzip" in refusal(path)
    for data, words in (
        (b"", "has zero bytes; copy or download it again"),
        (b"version https://git-lfs.github.com/spec/v1\n", ["is a pointer of Git LFS", " .* git lfs pull"][0]),
        (b"<!DOCTYPE html><html>403", "is a page of a web server under the name of a tar"),
        (b"no tar at all" * 100, "not a readable, uncompressed tar"),
    ):
        path.write_bytes(data)
        assert words in refusal(path)


def test_a_compressed_tar_with_its_own_extension(tmp_path: Path) -> None:
    path = tmp_path / "a.tar.gz"
    path.write_bytes(gzip.compress(sound(tmp_path / "x/a.tar").read_bytes()))
    assert refusal(path).endswith(f"Unpack it: gunzip -c {path} > {tmp_path}/a.tar")
    (tmp_path / "only").mkdir()
    path.rename(tmp_path / "only/a.tar.gz")
    message = refusal(tmp_path / "only")
    assert "it holds 1 file(s) with .gz; a.tar.gz is compressed, and only plain tars are read" in message


def test_tars_one_folder_deeper(tmp_path: Path) -> None:
    sound(tmp_path / "deep/train/0.tar")
    message = refusal(tmp_path / "deep")
    assert "the first .tar is train/0.tar, and only the folder itself is searched" in message
    assert "webdataset" not in message  # it is set already
    folder, pattern = f"{tmp_path}/deep/train", f"{tmp_path}/deep/*/*.tar"
    assert message.endswith(f"Set input.path to {folder}, or to {pattern} for all folders at that depth")
    for advice in (folder, pattern):
        assert len(list_sources(advice, "webdataset", NAMES).sources) == 1


def test_advice_does_not_repeat_what_was_done(tmp_path: Path) -> None:
    (tmp_path / "fox").mkdir()
    (tmp_path / "fox/a.txt").write_bytes(b"")
    assert "format" not in refusal(tmp_path).partition("formats of")[0]
    (tmp_path / "fox/a.png").write_bytes(PNG)
    assert refusal(tmp_path).endswith("for one folder of images per class set the format to 'imagefolder'")


@pytest.mark.parametrize(
    "order",
    [
        ["0.png", "1.png", "0.cls", "1.cls"],
        ["0.png", "0.cls", "1.png", "1.cls", "0.txt"],  # the caption would be lost
        ["0.txt", "1.png", "1.cls", "0.png", "0.cls"],
    ],
)
def test_files_of_a_sample_that_are_not_neighbours(tmp_path: Path, order: list[str]) -> None:
    pack(tmp_path / "a.tar", [(name, PNG if name.endswith("png") else b"0") for name in order])
    names = ", ".join(name for name in order if name[0] == "0")
    message = refusal(tmp_path)
    assert f"a.tar: sample '0': its files {names} are not next to each other in the tar" in message
    assert message.endswith("tar --sort=name -cf NEW.tar -C FOLDER .")
    pack(tmp_path / "a.tar", [(name, PNG if name.endswith("png") else b"0") for name in sorted(order)])
    assert len(list_sources(tmp_path, "webdataset", NAMES).sources) == 2


@pytest.mark.parametrize("label", [b"1_0", b"+1", b"-0", b"1.0", b"0x1", "\u0661".encode(), b"", b"1 0", b"9" * 19])
def test_labels_that_only_int_would_read(tmp_path: Path, label: bytes) -> None:
    write_tar(tmp_path / "a.tar", [("0", {"png": PNG, "cls": label})])
    assert f"its .cls is {label!r}, expected a class index such as 3: digits and nothing else" in refusal(tmp_path)


def test_labels() -> None:
    written = {b"0": 0, b"10\n": 10, b" 7 ": 7, b"007": 7, str(MAX_LABEL).encode(): MAX_LABEL}
    assert {data: parse_label(data) for data in written} == written
