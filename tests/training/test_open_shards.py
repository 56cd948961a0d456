"""A shard begun anywhere, in several places: each sample once, and whole; short epochs come to all samples."""

from __future__ import annotations

import io
import itertools
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from augment.errors import InputError
from augment.inputs.images import encode_png
from augment.storage.tar import write_tar
from augment.training import open_shards
from augment.training.open_shards import Files, open_parts
from augment.training.shard_start import start_fraction, whole_file_behind
from augment.training.webdataset_pipeline import MixedSamples

PNG = encode_png(np.zeros((2, 2, 3), np.uint8))


def parts_of(path: Path, start: float, most: int) -> list[list[Files]]:
    """The samples of each part."""
    parts = open_parts(str(path), start, most, 0)
    found = [list(part.samples()) for part in parts]
    for part in parts:
        assert part.left <= max(1, part.length)
        part.close()
    return found


def tar_of(path: Path, names: list[tuple[str, int]], format: int, end: bool = True) -> Path:
    """Write files of some names and sizes; without `end` there are no empty blocks after the last one."""
    with tarfile.open(path, "w", format=format) as tar:
        for name, size in names:
            info = tarfile.TarInfo(name)
            info.size = size
            tar.addfile(info, io.BytesIO(b"x" * size))
        last = tar.offset
    if not end:
        path.write_bytes(path.read_bytes()[:last])
    return path


def named(count: int, stem: str) -> list[tuple[str, int]]:
    """Files of samples with a cls, an image of some size, and a json; files of none between them."""
    files = [
        [(f"{stem}{n}.cls", 1), (f"{stem}{n}.png", 300 * n % 1500), (f"{stem}{n}.json", 0)]
        + ([("._hidden.png", 5), ("notes/README", 9)] if n % 4 == 2 else [])
        for n in range(count)
    ]
    return [("LICENSE.txt", 600), *itertools.chain.from_iterable(files)]


@pytest.mark.parametrize("stem", ["s", "a" * 120 + "/s", "ä/s"], ids=["short", "long", "other letters"])
@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("end", [True, False])
def test_every_sample_is_whole_and_one_parts(
    tmp_path: Path, stem: str, format: int, end: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(open_shards, "LEAST_BYTES", 512)
    path = tar_of(tmp_path / "a.tar", named(6, stem), format, end)
    wanted = {f"{stem}{n}": {"cls", "png", "json"} for n in range(6)}
    for start, most in [*((n / 37, 1) for n in range(37)), *itertools.product((0, 0.21, 0.68, 0.95), (2, 3, 30))]:
        parts = parts_of(path, start, most)
        assert len(parts) <= min(most, 6)
        found = [files for part in parts for files in part]
        assert Counter(files["__key__"] for files in found) == dict.fromkeys(wanted, 1), (start, most)
        assert all(set(files) >= wanted[files["__key__"]] for files in found)


def test_parts_are_alike_and_begin_where_they_are_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_shards, "LEAST_BYTES", 512)
    path = tar_of(tmp_path / "a.tar", [(f"{n:03d}.png", 400) for n in range(400)], tarfile.USTAR_FORMAT)
    keys = [[int(files["__key__"]) for files in part] for part in parts_of(path, 0.3, 4)]
    assert [len(part) for part in keys] == pytest.approx([100] * 4, abs=12)
    assert [part[0] for part in keys] == pytest.approx([120, 220, 320, 20], abs=12)
    assert len(parts_of(path, 0.3, 1)) == 1
    monkeypatch.setattr(open_shards, "LEAST_BYTES", path.stat().st_size // 2)
    assert len(parts_of(path, 0.3, 4)) == 2


def without_magic(data: bytes) -> bytes:
    """A tar as it was before there was `ustar` in its headers."""
    blocks = [data[at : at + 512] for at in range(0, len(data), 512)]
    for n, block in enumerate(blocks):
        if block[257:262] == b"ustar" and not block.startswith(b"\0"):
            bare = block[:148] + b" " * 8 + block[156:257] + b"\0" * 8 + block[265:]
            blocks[n] = bare[:148] + b"%06o\0 " % sum(bare) + bare[156:]
    return b"".join(blocks)


def test_what_only_looks_like_a_header_is_none_and_older_tars_are_read_from_their_beginning(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    fake = b"\0" * 257 + b"ustar" + b"\0" * 250
    write_tar(path, [(f"{n}", {"png": fake * 3, "cls": b"0"}) for n in range(4)])
    with path.open("rb") as stream:
        for place in range(0, path.stat().st_size, 512):
            start = whole_file_behind(stream, place)
            assert start % 512 == 0 and (start == 0 or start > place)
            stream.seek(start)
            assert tarfile.TarInfo.frombuf(stream.read(512), "utf-8", "strict").name[-4:] in (".png", ".cls")
    old = tmp_path / "old.tar"
    old.write_bytes(without_magic(path.read_bytes()))
    ((*found,),) = parts_of(old, 0.5, 3)
    assert [files["__key__"] for files in found] == ["0", "1", "2", "3"]


def test_a_damaged_shard_is_named_and_nothing_stays_open(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(b"no tar" * 500)
    with pytest.raises(InputError, match=r"a\.tar: not a readable tar"):
        open_parts(str(path), 0.5, 2, 0)


def test_hidden_files_tars_in_tars_and_a_key_that_comes_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_shards, "LEAST_BYTES", 512)
    # As the tar of macOS packs a folder, and two writers that both number from 0.
    names = [f"train/{hidden}{n % 5}.{ending}" for n in range(10) for ending in ("cls", "png") for hidden in ("._", "")]
    packed = tar_of(tmp_path / "a.tar", [(name, 40) for name in names], tarfile.PAX_FORMAT)
    inner = tar_of(tmp_path / "inner", named(30, "frame"), tarfile.USTAR_FORMAT).read_bytes()
    nested = tmp_path / "nested.tar"
    write_tar(nested, [(f"{n}", {"png": PNG, "cls": b"0", "frames.tar": inner}) for n in range(4)])
    for start, most in itertools.product((0, 0.2, 0.5, 0.9, 0.99), (1, 3)):
        found = Counter(files["__key__"] for part in parts_of(packed, start, most) for files in part)
        assert found == dict.fromkeys((f"train/{n}" for n in range(5)), 2)
        ((*samples,),) = parts_of(nested, start, most)
        assert [files["__key__"] for files in samples] == ["0", "1", "2", "3"]


def test_shards_without_samples_among_others_end_no_pass(tmp_path: Path) -> None:
    write_sorted(tmp_path, 3, 30, 3)
    for name in ("empty0", "empty1"):
        write_tar(tmp_path / f"{name}.tar", [])
    samples = MixedSamples(str(tmp_path), epoch_samples=90, open_shards=1)
    for epoch in range(5):
        samples.set_epoch(epoch)
        assert len({sample["__key__"] for sample in samples}) == 90


def test_the_places_leave_no_part_out() -> None:
    places = sorted(start_fraction(0, 0, turn) for turn in range(100))
    gaps = np.diff([*places, places[0] + 1])
    assert gaps.max() < 0.02 and len(set(np.round(gaps, 9))) <= 3
    assert start_fraction(0, 1, 0) != start_fraction(0, 0, 0) != start_fraction(1, 0, 0)


def write_sorted(folder: Path, shards: int, of_each: int, classes: int) -> Path:
    """Write shards that go through the classes one after the other, each in the same order."""
    for shard in range(shards):
        rows = [(f"{shard}_{n:04d}", {"png": PNG, "cls": b"%d" % (n * classes // of_each)}) for n in range(of_each)]
        write_tar(folder / f"{shard:03d}.tar", rows)
    return folder


@pytest.mark.parametrize(("shards", "of_each"), [(1, 1000), (5, 200)])
def test_epochs_shorter_than_a_pass_come_to_all_samples_alike(
    tmp_path: Path, shards: int, of_each: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(open_shards, "LEAST_BYTES", 2**17)
    monkeypatch.setattr("augment.training.shards.SHUFFLE_BUFFER", 10)
    samples = MixedSamples(str(write_sorted(tmp_path, shards, of_each, 10)), epoch_samples=100)
    seen = Counter[str]()
    classes = Counter[int]()
    for epoch in range(40):
        samples.set_epoch(epoch)
        found = list(samples)
        seen.update(str(sample["__key__"]) for sample in found)
        labels = Counter(int(sample["cls"]) for sample in found)
        assert len(labels) >= 6  # of 10; from the beginning of each shard on it would be 2
        classes.update(labels)
    assert len(seen) >= 0.95 * 1000  # 63 % of them, were each epoch the same places again; 98 % if drawn at random
    assert max(classes.values()) < 1.5 * min(classes.values())
