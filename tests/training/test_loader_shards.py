"""Shards that are damaged, or hold more than samples: what the loader passes over, and what it refuses by name."""

from __future__ import annotations

import io
import tarfile
from collections import Counter
from pathlib import Path

import pytest

from augment.errors import InputError
from augment.inputs.readers import list_sources
from augment.storage.tar import write_tar
from augment.training.loader import mixed_loader
from tests.training.test_loader import SIZE, numbers, sample, write_shards


def test_a_damaged_image_is_passed_over_with_a_warning_and_the_epoch_keeps_its_length(tmp_path: Path) -> None:
    good = [(f"k{n}", sample(n, 0)) for n in range(9)]
    write_tar(tmp_path / "0.tar", [*good, ("broken", {"png": b"\x89PNG", "cls": b"0"})])
    loader = mixed_loader(tmp_path, batch_size=9, epoch_samples=18, image_size=SIZE)
    with pytest.warns(UserWarning, match=r"0\.tar: sample 'broken' is passed over"):
        assert Counter(numbers(loader)) == dict.fromkeys(range(9), 2)


@pytest.mark.filterwarnings("ignore:.*is passed over")
@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ([], r"no sample in 1 shard\(s\)"),
        ([("a", {"png": b"x"})], "sample 'a' needs an image and a .cls; it has png"),
        ([("a", {"png": b"x", "cls": b"owl"})], "its .cls is b'owl', expected a class index"),
        ([("a", {"png": b"", "cls": b"0"})], "zero bytes; so were the 100 images before it"),
    ],
)
def test_shards_that_cannot_be_used(tmp_path: Path, samples: list[tuple[str, dict[str, bytes]]], message: str) -> None:
    write_tar(tmp_path / "0.tar", samples)
    with pytest.raises(InputError, match=message):
        list(mixed_loader(tmp_path, batch_size=2, epoch_samples=4, image_size=SIZE))


def test_files_that_are_no_samples_are_passed_over_as_in_a_listing(tmp_path: Path) -> None:
    """As tars of other tools have them: a README, hidden files, and what macOS adds."""
    path = write_shards(tmp_path, 1, 3) / "000.tar"
    with tarfile.open(path, "a") as tar:
        for name in ("README.txt", ".trash/old.png", ".trash/old.cls", "train/._000.png", "train/._000.cls"):
            info = tarfile.TarInfo(name)
            info.size = 1
            tar.addfile(info, io.BytesIO(b"1"))
    assert len(list_sources(path, "webdataset", {0: "fox"}).sources) == 3
    loader = mixed_loader(path, batch_size=3, epoch_samples=6, image_size=SIZE)
    assert set(Counter(numbers(loader)).values()) == {2}


def test_a_file_that_is_there_twice_is_named(tmp_path: Path) -> None:
    path = write_shards(tmp_path, 1, 1) / "000.tar"
    with tarfile.open(path, "a") as tar:
        for name in ("b.png", "b.png"):
            tar.addfile(tarfile.TarInfo(name))
    with pytest.raises(InputError, match=r"000\.tar: a file is there twice: .*png"):
        list(mixed_loader(path, batch_size=2, epoch_samples=4, image_size=SIZE))


def test_a_truncated_shard_is_named(tmp_path: Path) -> None:
    path = write_shards(tmp_path, 1, 3) / "000.tar"
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(InputError, match=r"000\.tar: not a readable tar"):
        list(mixed_loader(tmp_path, batch_size=2, epoch_samples=4, image_size=SIZE))
