"""The fast reader and writer of members against `tarfile`, byte for byte."""

from __future__ import annotations

import hashlib
import io
import random
import tarfile
from pathlib import Path

import pytest

from augment.storage.tar import iter_tar, write_tar
from augment.storage.tar_members import BLOCK, MemberReader, member_header

LONG = "y" * 250 + ".json"
NAMES = ("a.png", "b/c-_9.txt", "x" * 96 + ".png", "x" * 97 + ".png", LONG, "z/" * 100 + "k.json")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, 8 * 2**30 - 1, 8 * 2**30, 2**40])
def test_a_header_is_what_tarfile_writes(name: str, size: int) -> None:
    member = tarfile.TarInfo(name)
    member.size = size
    assert member_header(name, size) == member.tobuf(tarfile.GNU_FORMAT)


def read(data: bytes) -> tuple[list[tuple[str, int, bytes]], str]:
    """All members, each second one not read but skipped, and the hash that was given to `update`."""
    digest, found = hashlib.sha256(), []
    reader = MemberReader(io.BytesIO(data), digest.update)
    while (member := reader.next()) is not None:
        found.append((member.name, member.offset, reader.read(member) if len(found) % 2 else b""))
    return found, digest.hexdigest()


def test_members_are_those_of_tarfile_and_every_byte_is_hashed(tmp_path: Path) -> None:
    rng = random.Random(0)
    sizes = [0, 1, 511, 512, 513, 5000, 2**20 - 1, 3 * 2**20 + 7]
    samples = [(f"{'k' * rng.choice((3, 120))}/{n}", {"png": rng.randbytes(size)}) for n, size in enumerate(sizes * 2)]
    update = hashlib.sha256()
    write_tar(tmp_path / "a.tar", samples, update.update)
    data = (tmp_path / "a.tar").read_bytes()
    found, sha256 = read(data)
    assert sha256 == update.hexdigest() == hashlib.sha256(data).hexdigest()
    with tarfile.open(tmp_path / "a.tar") as tar:
        assert [(name, offset) for name, offset, _ in found] == [(m.name, m.offset_data) for m in tar.getmembers()]
    assert [content for _, _, content in found][1::2] == [files["png"] for _, files in iter_tar(tmp_path / "a.tar")][
        1::2
    ]
    assert read(data + b"behind the end")[1] == hashlib.sha256(data + b"behind the end").hexdigest()


def small() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name in ("a.png", LONG, "b.png"):
            member = tarfile.TarInfo(name)
            member.size = 700
            tar.addfile(member, io.BytesIO(bytes(range(250)) * 3))
    return buffer.getvalue()


def test_what_is_cut_off_anywhere_is_an_error() -> None:
    data = small()
    end = len(data.rstrip(b"\0")) // BLOCK * BLOCK + 2 * BLOCK  # of the end-of-archive mark's first block
    read(data)
    for length in range(0, end - BLOCK, 100):
        with pytest.raises(tarfile.ReadError):
            read(data[:length])


def test_a_changed_header_is_an_error() -> None:
    data = small()
    for place in (0, 99, 100, 107, 124, 135, 136, 148, 156, 257, 263, 511):
        with pytest.raises(tarfile.ReadError):
            read(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])


@pytest.mark.parametrize("kind", [tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_anything_but_a_file_is_an_error(kind: bytes) -> None:
    member = tarfile.TarInfo("a.png")
    member.type = kind
    with pytest.raises(tarfile.ReadError, match=r"no regular file"):
        read(member.tobuf(tarfile.GNU_FORMAT) + bytes(10240))


def test_a_pax_tar_is_an_error_as_its_names_would_be_wrong() -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(tarfile.TarInfo(LONG))
    with pytest.raises(tarfile.ReadError, match=r"no regular file"):
        read(buffer.getvalue())
