"""Edits by their place: the accepted ones, their records and groups, mixed with real ones; nothing held out."""

from __future__ import annotations

import io
import pickle
from pathlib import Path

import fsspec
import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision.transforms.v2.functional import pil_to_tensor

from augment.errors import InputError, LeakError
from augment.inputs.shard_listing import image_members
from augment.storage.tar import iter_tar, write_tar
from augment.training.edited_images import EditedImages
from tests.dataset.parts import finished_ledger, publish
from tests.dataset.test_publish import ACCEPTED
from tests.training.output import write_output
from tests.training.toy import NAMES, files_of, picture, write_split


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


def test_the_accepted_edits_of_a_published_folder_in_the_order_of_its_index(tmp_path: Path) -> None:
    publish(finished_ledger(tmp_path))
    edits = EditedImages(tmp_path)
    assert len(edits) == 4 and [edits.record(i)["key"] for i in range(4)] == ACCEPTED
    assert edits.targets == [1, 1, 1, 0] and edits.class_names == {0: "fox", 1: "owl"}
    grey = [int(np.asarray(image)[0, 0, 0]) for image, _ in (edits[i] for i in range(4))]
    assert grey == [10, 30, 30, 40]
    assert edits.groups("place") == ["1", "0", "1", "0"] and edits.groups("class_name") == ["owl"] * 3 + ["fox"]
    assert edits.record(1)["label_probability"] == 0.7
    with pytest.raises(InputError, match="'weather' is not known of edit 01_owl-v01: it is neither a field"):
        edits.groups("weather")


def test_any_edit_of_any_shard_at_random_in_any_process(tmp_path: Path) -> None:
    folder = write_output(tmp_path / "out", files_of("train", 2))
    edits = EditedImages(folder, pil_to_tensor)
    assert len(edits) == 18 and len(list((folder / "shards").iterdir())) == 3
    numbers = [n for n in range(20) if n not in (3, 5)]
    for place in (17, 0, 9):
        image, label = edits[place]
        number = numbers[place]
        assert label == number % 3
        assert (image.permute(1, 2, 0).numpy() == pixels(picture(label, number, "edit"))).all()
    loader = DataLoader(edits, batch_size=5, num_workers=2)
    images = torch.cat([images for images, _ in loader])
    assert torch.equal(images, torch.stack([edits[i][0] for i in range(18)]))
    assert torch.equal(pickle.loads(pickle.dumps(edits))[4][0], edits[4][0])


def test_a_folder_in_a_store(tmp_path: Path) -> None:
    folder = write_output(tmp_path / "out", files_of("train", 2))
    memory = fsspec.filesystem("memory")
    memory.put(f"{folder}/", "/edited/out", recursive=True)
    here, there = EditedImages(folder), EditedImages("memory://edited/out")
    assert [np.asarray(there[i][0]).sum() for i in range(18)] == [np.asarray(here[i][0]).sum() for i in range(18)]
    memory.rm("/edited", recursive=True)
    with pytest.raises(InputError, match=r"memory://edited/out/shards/train-000000\.tar"):
        there[0]


def test_what_is_no_output_folder_or_does_not_fit_its_index(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"index\.parquet: No such file"):
        EditedImages(tmp_path)
    folder = write_output(tmp_path / "out", files_of("train", 2))
    shard = folder / "shards" / "train-000001.tar"
    write_tar(shard, list(iter_tar(shard))[1:])
    with pytest.raises(InputError, match=r"train-000001\.tar has no picture 's009-v00', which index\.parquet says"):
        EditedImages(folder)


def test_edits_of_what_is_held_out_are_refused(tmp_path: Path) -> None:
    held = write_split(tmp_path, "val", 2)
    EditedImages(write_output(tmp_path / "clean", files_of("train", 2)), held_out=[held])
    planted = write_output(tmp_path / "planted", [*files_of("train", 2), files_of("val", 2)[3]])
    made = r"synthetic \S*::s0(06|13)-v00.png was made of held out \S*val.tar::val_1_01.png"
    with pytest.raises(LeakError, match=rf"2 pictures of what is held out would be trained on.*(\n  {made}){{2}}$"):
        EditedImages(planted, held_out=[held])


def test_of_several_images_of_a_sample_the_picture_is_taken(tmp_path: Path) -> None:
    files = {"png": b"p", "jpg": b"jj", "cls": b"0", "mask.png": b"mmm"}
    write_tar(tmp_path / "a.tar", [("d/k", files), ("x", {"txt": b"no picture"})])
    ((key, (place, size)),) = image_members(str(tmp_path / "a.tar")).items()
    assert key == "d/k" and size == 1 and "a.tar::d/k.png@" in place


def test_class_names(tmp_path: Path) -> None:
    assert tuple(EditedImages(write_output(tmp_path / "o", [b"x"])).class_names.values()) == NAMES
