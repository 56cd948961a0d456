"""The benchmark of the loader: both sides read as many samples of the same tars, of the size asked for."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest
import torch

from augment.storage.tar import iter_tar
from jobs.benchmark_loader import Rates, as_table, measure, plain_loader, write_pictures
from tests.variants import variants


# webdataset leaves the tar open that it was reading when an epoch ended.
@pytest.mark.filterwarnings("ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
@pytest.mark.parametrize(("side", "extension"), variants([(64, "png"), (96, "jpg")], kept=[(64, "png")]))
def test_both_sides_read_the_tars(tmp_path: Path, side: int, extension: str) -> None:
    real, edits = write_pictures(tmp_path, side, tars=1, per_tar=64)
    assert {name for _, files in iter_tar(real / "000000.tar") for name in files} == {extension, "cls"}
    batches = list(plain_loader([str(real / "000000.tar")], side, samples=128, workers=0))
    assert [images.shape for images, _ in batches] == [(64, 3, side, side)] * 2
    assert -1 <= torch.cat([images for images, _ in batches]).min() < -0.8
    rates = measure(real, edits, side, samples=128, rounds=1, workers=0)
    gc.collect()
    assert rates.workers == 0 and rates.cpu_ratio > 0
    assert rates.ratio == pytest.approx(rates.mixed / rates.plain, rel=0.1)


def test_the_table() -> None:
    assert list(as_table([Rates(2, 1234.0, 1000.0, 1.234, 1.5)]))[2:] == ["| 2 | 1,234 | 1,000 | 1.23 | 1.50 |"]
