"""Shards as a Ray Data dataset: every sample once, pixels and records as they are, and nothing unpickled."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from augment.storage.tar import write_tar
from tests.training.output import write_output
from tests.training.snippets import run_snippet, write_data
from tests.training.test_edited_images import pixels
from tests.training.test_loader import SIZE, sample, write_shards
from tests.training.toy import files_of, picture

pytestmark = [
    pytest.mark.ray,
    pytest.mark.timeout(180),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.*"),  # its own settings
]


class Bomb:
    """Unpickling it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> Any:
        return os.mkdir, (self.path,)


def test_every_sample_of_every_shard_once_in_batches_of_torch(ray_session: Any, tmp_path: Path) -> None:
    from augment.distribute.ray_data import read_pictures

    found = read_pictures(write_shards(tmp_path, num_shards=3, per_shard=70, label=2), image_size=SIZE)
    numbers = []
    for batch in found.select_columns(["image", "label"]).iter_torch_batches(batch_size=32):
        images = batch["image"]
        assert images.shape[1:] == (SIZE, SIZE, 3) and set(batch["label"].tolist()) == {2}
        numbers += (images[:, 0, 0, 0].int() + 256 * images[:, 0, 0, 1].int()).tolist()
    assert sorted(numbers) == list(range(210))


def test_rows_of_edits_have_their_records_and_pixels(ray_session: Any, tmp_path: Path) -> None:
    from augment.distribute.ray_data import read_pictures

    folder = write_output(tmp_path / "out", files_of("train", 2))
    rows = sorted(read_pictures(folder / "shards", image_size=16).take_all(), key=lambda row: row["key"])
    assert len(rows) == 18 and {Path(row["shard"]).name for row in rows} == {f"train-00000{n}.tar" for n in range(3)}
    row = rows[-1]
    assert row["key"] == "s019-v00" and row["label"] == 1
    assert json.loads(row["record"])["class_name"] == "green"
    assert (np.asarray(row["image"]) == pixels(picture(1, 19, "edit"))).all()


def test_the_snippet_of_the_page(ray_session: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_data(tmp_path)
    monkeypatch.chdir(tmp_path)
    found = run_snippet("Ray Data")
    assert found["images"].shape == (8, 16, 16, 3) and len(found["labels"]) == 8


def test_pickles_are_not_read_and_damaged_pictures_are_passed_over(
    ray_session: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from augment.distribute.ray_data import read_pictures

    bomb = pickle.dumps(Bomb(tmp_path / "exploded"))
    files = sample(1, 0) | {"pkl": bomb, "pyd": bomb, "pth": bomb}
    write_tar(tmp_path / "a.tar", [("a", files), ("b", {"png": b"\x89PNG", "cls": b"0"}), ("c", sample(2, 1))])
    rows = read_pictures(tmp_path / "a.tar", image_size=SIZE).take_all()
    assert [(row["key"], row["label"], row["record"]) for row in rows] == [("a", 0, ""), ("c", 1, "")]
    assert set(rows[0]) == {"image", "label", "key", "shard", "record"}
    assert not (tmp_path / "exploded").exists()
    pickle.loads(bomb)  # the bomb is one
    assert (tmp_path / "exploded").exists()
