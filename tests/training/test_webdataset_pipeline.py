"""The stage in real webdataset pipelines: the same samples as the loader's, the ratio, and nothing to unpickle."""

from __future__ import annotations

import pickle
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import webdataset as wds

from augment.errors import LeakError
from augment.training.loader import mixed_loader
from augment.training.webdataset_pipeline import MixedSamples
from tests.training.test_loader import SIZE, numbers, sample, write_shards, write_tar
from tests.training.toy import files_of, write_edits, write_split

# A machine with one core is told that two reading processes are too many.
pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")


def pipeline(samples: MixedSamples) -> wds.DataPipeline:
    return wds.DataPipeline(samples, wds.decode("torchrgb8"), wds.to_tuple("png;jpg", "cls"), wds.batched(8))


def numbers_of(batches: Any) -> list[int]:
    """Which pictures the batches have, in order."""
    pixels = torch.cat([torch.as_tensor(np.asarray(images))[:, :, 0, 0].long() for images, _ in batches])
    return (pixels[:, 0] + 256 * pixels[:, 1]).tolist()


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    write_shards(tmp_path / "real", num_shards=8, per_shard=6)
    write_tar(tmp_path / "edits.tar", [(f"e{n}", sample(1000 + n, 1)) for n in range(8)])
    return tmp_path


def test_the_samples_are_those_of_the_loader_in_its_order(shards: Path) -> None:
    arguments = {"epoch_samples": 96, "synthetic_ratio": 0.25, "seed": 4}
    samples = MixedSamples(shards / "real", shards / "edits.tar", **arguments)
    loader = mixed_loader(shards / "real", shards / "edits.tar", batch_size=8, image_size=SIZE, **arguments)
    first, second = numbers(loader), numbers(loader)
    assert numbers_of(pipeline(samples)) == numbers_of(pipeline(samples)) == first
    samples.set_epoch(1)
    assert numbers_of(pipeline(samples)) == second


def test_workers_that_live_on_give_another_epoch_too(shards: Path) -> None:
    samples = MixedSamples(shards / "real", epoch_samples=48)
    loader = wds.WebLoader(pipeline(samples), batch_size=None, num_workers=1, persistent_workers=True)
    first = numbers_of(loader)
    samples.set_epoch(1)
    second = numbers_of(loader)
    assert sorted(first) == sorted(second) == list(range(48)) and first != second


def test_ranks_and_workers_of_a_web_loader_cover_each_real_sample_once_a_pass(shards: Path) -> None:
    seen = []
    for rank in range(2):
        samples = MixedSamples(
            shards / "real", shards / "edits.tar", epoch_samples=64, synthetic_ratio=0.25, rank=rank, world_size=2
        )
        seen += numbers_of(wds.WebLoader(pipeline(samples), batch_size=None, num_workers=2))
    assert Counter(seen) == dict.fromkeys([*range(48), *range(1000, 1008)], 1) | dict.fromkeys(range(1000, 1008), 2)


def test_no_other_member_is_handed_on(tmp_path: Path) -> None:
    files = sample(3, 2) | {"pyd": pickle.dumps(1), "pth": b"x", "txt": b"a fox", "json": b"{}", "seg.png": b"x"}
    write_tar(tmp_path / "a.tar", [("k", files)])
    (found,) = MixedSamples(tmp_path / "a.tar", epoch_samples=1)
    assert set(found) == {"__key__", "__url__", "png", "cls", "txt", "json"}
    assert (found["__key__"], found["cls"], found["txt"]) == ("k", b"2", b"a fox")


def test_what_is_held_out_is_refused(tmp_path: Path) -> None:
    held = write_split(tmp_path, "val", 1)
    edits = write_edits(tmp_path / "made", files_of("val", 1))
    with pytest.raises(LeakError, match="18 pictures of what is held out"):
        MixedSamples(write_split(tmp_path, "train", 1), edits / "shards", epoch_samples=4, held_out=[held])
