"""The loader: exact lengths, the ratio, and which stream reads what, told by each picture's own grey value."""

from __future__ import annotations

import io
from collections import Counter
from pathlib import Path

import fsspec
import numpy as np
import pytest
import torch
from PIL import Image

from augment.errors import InputError
from augment.inputs.fit import FitName
from augment.inputs.images import encode_png
from augment.storage.tar import write_tar
from augment.tiny.dataset import split_path
from augment.training.loader import MixedLoader, mixed_loader
from tests.variants import variants

SIZE = 4

# A machine with one core is told that two reading processes are too many.
pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")


def sample(number: int, label: int) -> dict[str, bytes]:
    """A picture whose red and green channels say which one it is."""
    array = np.zeros((SIZE, SIZE, 3), np.uint8)
    array[..., 0], array[..., 1] = number % 256, number // 256
    return {"png": encode_png(array), "cls": str(label).encode()}


def write_shards(folder: Path, num_shards: int, per_shard: int, label: int = 0) -> Path:
    for shard in range(num_shards):
        numbers = range(shard * per_shard, (shard + 1) * per_shard)
        write_tar(folder / f"{shard:03d}.tar", [(f"k{n}", sample(n, label)) for n in numbers])
    return folder


def numbers(batches: MixedLoader) -> list[int]:
    """Which pictures one epoch gives, in order."""
    pixels = torch.cat([images[:, :, 0, 0] for images, _ in batches])
    pixels = ((pixels + 1) * 127.5).round().long()
    return (pixels[:, 0] + 256 * pixels[:, 1]).tolist()


def test_shapes_range_and_labels_of_the_shipped_split() -> None:
    loader = mixed_loader(split_path("val"), batch_size=50, epoch_samples=320, image_size=32)
    batches = list(loader)
    assert len(loader) == 7 and [len(images) for images, _ in batches] == [50] * 6 + [20]
    images, labels = batches[0]
    assert images.shape == (50, 3, 32, 32) and images.dtype == torch.float32 and labels.dtype == torch.int64
    assert -1 <= images.min() < -0.8 and 0.8 < images.max() <= 1
    # One pass is 320 samples: every picture exactly once.
    assert Counter(torch.cat([labels for _, labels in batches]).tolist()) == dict.fromkeys(range(16), 20)


@pytest.mark.parametrize(("fit", "column"), [("crop", [0, 0, 0]), ("pad", [255, 0, 0]), ("stretch", [255, 0, 0])])
def test_pictures_of_any_aspect_become_squares(tmp_path: Path, fit: FitName, column: list[int]) -> None:
    wide = np.zeros((8, 24, 3), np.uint8)
    wide[:, :8] = (255, 0, 0)
    write_tar(tmp_path / "wide.tar", [("a", {"png": encode_png(wide), "cls": b"0"})])
    ((images, _),) = mixed_loader(tmp_path, batch_size=1, epoch_samples=1, image_size=8, fit=fit)
    assert images.shape == (1, 3, 8, 8)
    assert ((images[0, :, :, 0] + 1) * 127.5).round().T.tolist() == [column] * 8


@pytest.mark.parametrize("num_workers", [0, 2])
def test_an_epoch_has_exactly_the_samples_asked_for_whatever_the_workers(tmp_path: Path, num_workers: int) -> None:
    real = write_shards(tmp_path, num_shards=3, per_shard=5)
    loader = mixed_loader(real, batch_size=8, epoch_samples=101, image_size=SIZE, num_workers=num_workers)
    for _ in range(2):
        sizes = [len(labels) for _, labels in loader]
        assert sizes == [8] * 12 + [5] and len(loader) == 13


@pytest.mark.parametrize("num_shards", [1, 2, 8])
@pytest.mark.parametrize(
    ("world_size", "num_workers"),
    variants([(1, 0), (2, 0), (4, 0), (2, 2), (4, 2)], kept=[(1, 0), (2, 0), (4, 0), (4, 2)]),
)
def test_in_one_pass_the_ranks_read_every_sample_once(
    tmp_path: Path, num_shards: int, world_size: int, num_workers: int
) -> None:
    real = write_shards(tmp_path, num_shards, per_shard=48 // num_shards)
    ranks = [
        numbers(
            mixed_loader(
                real,
                batch_size=2,
                epoch_samples=48,
                image_size=SIZE,
                num_workers=num_workers,
                rank=rank,
                world_size=world_size,
            )
        )
        for rank in range(world_size)
    ]
    assert [len(seen) for seen in ranks] == [48 // world_size] * world_size
    seen = [number for rank in ranks for number in rank]
    assert seen != sorted(seen)
    assert sorted(seen) == list(range(48))


def test_all_ranks_together_cover_uneven_shards_equally_often_in_the_long_run(tmp_path: Path) -> None:
    real = write_shards(tmp_path, num_shards=3, per_shard=8)
    seen = Counter[int]()
    for rank in range(2):
        seen.update(
            numbers(mixed_loader(real, batch_size=8, epoch_samples=240, image_size=SIZE, rank=rank, world_size=2))
        )
    assert set(seen.values()) == {10}


@pytest.mark.parametrize(
    ("ratio", "num_workers"),
    [
        (0.0, 0),
        (0.1, 0),
        (0.25, 0),
        (1 / 3, 0),
        (0.5, 0),
        (1.0, 0),
        *variants([(0.1, 2), (1 / 3, 2)], kept=[(1 / 3, 2)]),
    ],
)
def test_the_ratio_is_exact_on_every_rank_and_of_all_of_them(tmp_path: Path, ratio: float, num_workers: int) -> None:
    real = write_shards(tmp_path / "real", num_shards=1, per_shard=10, label=0)
    synthetic = write_shards(tmp_path / "synthetic", num_shards=4, per_shard=50, label=1)
    labels = []
    for rank in range(2):
        loader = mixed_loader(
            real,
            synthetic,
            synthetic_ratio=ratio,
            batch_size=10,
            epoch_samples=400,
            image_size=SIZE,
            num_workers=num_workers,
            rank=rank,
            world_size=2,
        )
        labels.append(torch.cat([labels for _, labels in loader]))
        streams = max(1, num_workers)
        counted = labels[-1].cumsum(0)
        expected = ratio * torch.arange(1, 201)
        assert (counted - expected).abs().max() <= streams  # each of them is less than one off
    assert torch.cat(labels).sum() == int(400 * ratio)


def test_streams_with_edits_cover_each_real_sample_once_a_pass_too(tmp_path: Path) -> None:
    real = write_shards(tmp_path / "real", num_shards=8, per_shard=6)
    write_tar(tmp_path / "edits.tar", [(f"e{n}", sample(1000 + n, 1)) for n in range(7)])
    seen = []
    for rank in range(4):
        loader = mixed_loader(
            real,
            tmp_path / "edits.tar",
            synthetic_ratio=0.25,
            batch_size=4,
            epoch_samples=64,
            image_size=SIZE,
            num_workers=2,
            rank=rank,
            world_size=4,
        )
        seen += numbers(loader)
    assert sorted(number for number in seen if number < 1000) == list(range(48))
    assert len(seen) == 64


@pytest.mark.parametrize("num_workers", [0, 2])
def test_same_seed_same_batches_and_another_seed_epoch_or_rank_others(tmp_path: Path, num_workers: int) -> None:
    shards = write_shards(tmp_path, num_shards=2, per_shard=40)

    def make(seed: int = 0, rank: int = 0) -> MixedLoader:
        return mixed_loader(
            shards,
            shards,
            batch_size=16,
            epoch_samples=128,
            image_size=SIZE,
            seed=seed,
            num_workers=num_workers,
            rank=rank,
            world_size=2,
        )

    loader = make()
    first, second = numbers(loader), numbers(loader)
    assert first == numbers(make())
    assert first != second and first != numbers(make(seed=1)) and first != numbers(make(rank=1))
    resumed = make()
    resumed.set_epoch(1)
    assert second == numbers(resumed)


def test_the_global_generators_are_neither_used_nor_moved(tmp_path: Path) -> None:
    loader = mixed_loader(write_shards(tmp_path, 1, 20), batch_size=8, epoch_samples=16, image_size=SIZE)
    torch.manual_seed(1)
    first = numbers(loader)
    torch.manual_seed(2)
    loader.set_epoch(0)
    assert numbers(loader) == first


def test_more_samples_than_the_buffer_are_still_each_given_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("augment.training.shards.SHUFFLE_BUFFER", 7)
    loader = mixed_loader(write_shards(tmp_path, 2, 30), batch_size=60, epoch_samples=60, image_size=SIZE)
    seen = numbers(loader)
    assert sorted(seen) == list(range(60)) and seen != sorted(seen)


def test_rank_and_world_size_come_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = write_shards(tmp_path, 1, 20)
    given = numbers(mixed_loader(real, batch_size=5, epoch_samples=20, image_size=SIZE, rank=1, world_size=2))
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert numbers(mixed_loader(real, batch_size=5, epoch_samples=20, image_size=SIZE)) == given


def test_urls_are_read_through_fsspec(tmp_path: Path) -> None:
    write_shards(tmp_path, 2, 10)
    memory = fsspec.filesystem("memory")
    memory.put(f"{tmp_path}/", "/loader/shards", recursive=True)
    local = mixed_loader(tmp_path, batch_size=20, epoch_samples=20, image_size=SIZE)
    expected = numbers(local)
    assert sorted(expected) == list(range(20))
    for place in (f"file://{tmp_path}", "memory://loader/shards"):
        for shards in (place, f"{place}/*.tar", f"{place}/{{000..001}}.tar", [f"{place}/001.tar", f"{place}/000.tar"]):
            loader = mixed_loader(shards, place, batch_size=20, epoch_samples=20, image_size=SIZE, synthetic_ratio=0.0)
            assert numbers(loader) == expected
    memory.rm("/loader", recursive=True)
    with pytest.raises(InputError, match=r"memory://loader/shards/00\d\.tar: No such file"):
        list(loader)
    with pytest.raises(InputError, match="memory://loader/shards: No such file"):
        mixed_loader("memory://loader/shards", batch_size=1, epoch_samples=1, image_size=SIZE)


def test_other_formats_are_read_and_masks_are_not_pictures(tmp_path: Path) -> None:
    files = sample(7, 0)
    with Image.open(io.BytesIO(files.pop("png"))) as picture:
        picture.save(tmp_path / "a.tga")
    mask = {"seg.png": sample(9, 0)["png"]}
    write_tar(tmp_path / "0.tar", [("a", files | mask | {"tga": (tmp_path / "a.tga").read_bytes()})])
    assert numbers(mixed_loader(tmp_path, batch_size=1, epoch_samples=1, image_size=SIZE)) == [7]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, "batch_size is 0"),
        ({"epoch_samples": 0}, "epoch_samples is 0"),
        ({"synthetic_ratio": 1.5}, "synthetic_ratio is 1.5, expected 0 to 1"),
        ({"num_workers": -1}, "num_workers is -1"),
        ({"rank": 2, "world_size": 2}, "rank is 2, expected 0 to world_size - 1 = 1"),
        ({"fit": "bucket"}, "fit is 'bucket', expected crop, pad or stretch: a batch has one size"),
        ({"rank": 0}, "give rank and world_size together"),
        ({"rank": 0, "world_size": 3, "epoch_samples": 100}, "3 ranks cannot share evenly; take 99 or 102"),
    ],
)
def test_arguments_out_of_range_are_named(tmp_path: Path, arguments: dict[str, float | str], message: str) -> None:
    settings = {"batch_size": 4, "epoch_samples": 8, "image_size": SIZE} | arguments
    with pytest.raises(ValueError, match=message):
        mixed_loader(write_shards(tmp_path, 1, 2), **settings)  # type: ignore[arg-type]


def test_missing_shards(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        mixed_loader(str(tmp_path / "no-*.tar"), batch_size=1, epoch_samples=1, image_size=SIZE)


def test_open_shards_are_at_least_one(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="open_shards is 0, expected at least 1"):
        mixed_loader(write_shards(tmp_path, 1, 2), batch_size=1, epoch_samples=1, image_size=SIZE, open_shards=0)
